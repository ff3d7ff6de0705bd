"""The thin layer over AMQP: the only place that imports pika."""
