# What a worker's command does with a task of the soak: "ID ACTION FAILURES" on stdin; see tasks.py.
read -r id action failures
attempt=${RQTOOL_TASK_ATTEMPT}
message=${RQTOOL_TASK_ID}
redelivered=${RQTOOL_TASK_REDELIVERED}
fail() {
    echo "attempt $attempt of $id fails" >&2
    exit 1
}
case $action in
    slow) sleep 0.3 ;;
    fail) [ "$attempt" -gt "$failures" ] || fail ;;
    crash) [ "$attempt" -gt "$failures" ] || kill -9 $$ ;;
    hang) [ "$attempt" -gt "$failures" ] || sleep 60 ;;
    never) fail ;;
    poison)
        kill -9 "-$SOAK_WORKER"
        fail
        ;;
esac
echo "$id $message $attempt $redelivered $SOAK_LIFE/$PPID" >>"$SOAK_DONE"
