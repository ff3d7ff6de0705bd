"""A private RabbitMQ: one node or three."""
