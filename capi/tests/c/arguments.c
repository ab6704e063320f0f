/* Bad arguments: -EINVAL and nothing else. What is not released twice, and a handle of another kind. */
#include "unwedge.h"

#include <fcntl.h>
#include <pthread.h>

#include "check.h"

/* What programs were compiled with. */
_Static_assert(UNWEDGE_AUTO == 0 && UNWEDGE_URING == 1 && UNWEDGE_POOL == 2, "backends");
_Static_assert(UNWEDGE_LOG_OFF == 0 && UNWEDGE_LOG_ERROR == 1 && UNWEDGE_LOG_WARN == 2 && UNWEDGE_LOG_INFO == 3, "levels");
_Static_assert(UNWEDGE_LOG_DEBUG == 4 && UNWEDGE_LOG_TRACE == 5, "levels");
_Static_assert(UNWEDGE_TEXT == 0 && UNWEDGE_JSON == 1 && UNWEDGE_DOT == 2, "forms");
_Static_assert(UNWEDGE_STEP_BEFORE_JOIN == 1 && UNWEDGE_STEP_OR_ABORT == 2, "steps");

#define WRONG(call) CHECK((call) == -EINVAL)

static int lock(void *mutex) { return pthread_mutex_lock(mutex); }
static void unlock(void *mutex) { pthread_mutex_unlock(mutex); }
/* Nothing of this is ever called. */
static void abort_if(void *arg) {
    (void)arg;
    abort();
}
static void free_value(void *value) { abort_if(value); }
static void body(void *arg) { abort_if(arg); }
static int step(unwedge_stop_t *phase, void *arg) { return phase == arg; }
static void callback(void *arg, int status, int64_t result, unwedge_completion_t *completion) {
    (void)status, (void)result, (void)completion;
    abort_if(arg);
}
static void log_line(void *arg, int level, const char *message) { (void)level, (void)message, abort_if(arg); }

/* A monitor's lock: a flag, because one thread alone is here. */
static int make(void *place, void *arg) { return *(int *)place != 0 || arg != NULL; }
static int make_fails(void *place, void *arg) { return place == arg ? 0 : EAGAIN; }
static int try_flag(void *place) { return (*(int *)place)++ ? EBUSY : 0; }
static void clear_flag(void *place) { *(int *)place = 0; }
static void end_flag(void *place) { CHECK(*(int *)place == 0); }
static const unwedge_monitor_ops_t monitor_ops = {
    .size = sizeof(int), .align = sizeof(int), .make = make, .end = end_flag, .try_lock = try_flag, .unlock = clear_flag};
static const unwedge_monitor_ops_t failing_ops = {
    .size = sizeof(int), .align = sizeof(int), .make = make_fails, .end = body, .try_lock = try_flag, .unlock = clear_flag};
static const unwedge_monitor_ops_t crooked_ops = {
    .size = sizeof(int), .align = 3, .make = make, .end = end_flag, .try_lock = try_flag, .unlock = clear_flag};
static const unwedge_monitor_ops_t empty_ops = {.align = 1, .make = make, .try_lock = try_flag, .unlock = clear_flag};

int main(void) {
    unwedge_monitor_t *monitor;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    const unwedge_lock_ops_t ops = {.lock = lock, .unlock = unlock};
    const unwedge_lock_ops_t no_unlock = {.lock = lock};
    const unwedge_lock_ops_t no_lock = {.unlock = unlock};
    const unwedge_lock_ops_t newer = {.lock = lock, .unlock = unlock, .reserved = {&mutex}};
    static char buffer[64];
    static uint64_t words[8]; /* no handle: its tag is 0 */
    unwedge_stop_t *stop, *other;
    unwedge_condvar_t *condvar;
    const size_t *waits;
    unwedge_completion_t *completion, *more;
    unwedge_completer_t *completer;
    unwedge_plan_t *plan;
    unwedge_report_t *report;
    unwedge_io_t *io, *second;
    unwedge_file_t *file;
    unwedge_stat_t stat;
    const void *data;
    void *value;
    size_t len;
    int64_t result = 77;
    uint64_t number;

    CHECK(unwedge_stop_new("arguments", NULL, NULL, NULL, &stop) == 0 && unwedge_condvar_new(&condvar) == 0);
    CHECK(unwedge_completion_new(stop, "answer", free_value, &completion, &completer) == 0);
    CHECK(unwedge_io_new(stop, UNWEDGE_POOL, &io) == 0 && unwedge_plan_new(SECOND, &plan) == 0);
    CHECK(unwedge_stop_report(stop, &report) == 0);
    CHECK(unwedge_io_open(io, "/proc/self/status", O_RDONLY, 0, &more) == 0);
    CHECK(unwedge_completion_wait(more, NULL, -1, &result) == 0 && unwedge_completion_file(more, &file) == 0);
    unwedge_completion_release(more);
    pthread_mutex_lock(&mutex);

    WRONG(unwedge_stop_new(NULL, NULL, NULL, NULL, &other));
    WRONG(unwedge_stop_new("a", NULL, NULL, NULL, NULL));
    WRONG(unwedge_stop_child(NULL, "a", &other));
    WRONG(unwedge_stop_child(stop, NULL, &other));
    WRONG(unwedge_stop_child(stop, "a", NULL));
    WRONG(unwedge_stop_child((unwedge_stop_t *)condvar, "a", &other));
    WRONG(unwedge_stop_child((unwedge_stop_t *)words, "a", &other));
    WRONG(unwedge_stop_child((unwedge_stop_t *)((char *)words + 1), "a", &other));
    WRONG(unwedge_stop_ref(NULL));
    WRONG(unwedge_stop_request(NULL, "why"));
    WRONG(unwedge_stop_request(stop, NULL));
    WRONG(unwedge_stop_hurry(NULL, "why"));
    WRONG(unwedge_stop_hurry(stop, NULL));
    WRONG(unwedge_stop_is_hurried(NULL));
    WRONG(unwedge_stop_generation(NULL, &number));
    WRONG(unwedge_stop_generation(stop, NULL));
    WRONG(unwedge_stop_is_requested(NULL));
    WRONG(unwedge_stop_reason(NULL, buffer, sizeof buffer));
    WRONG(unwedge_stop_reason(stop, NULL, 1));
    WRONG(unwedge_stop_wait(NULL, 0));
    WRONG(unwedge_stop_spawn(NULL, "a", body, NULL));
    WRONG(unwedge_stop_spawn(stop, NULL, body, NULL));
    WRONG(unwedge_stop_spawn(stop, "a", NULL, NULL));
    WRONG(unwedge_stop_report(NULL, &report));
    WRONG(unwedge_stop_report(stop, NULL));
    WRONG(unwedge_stop_shutdown(NULL, NULL, NULL, NULL, NULL));
    WRONG(unwedge_stop_shutdown(stop, (unwedge_plan_t *)stop, NULL, NULL, NULL));
    WRONG(unwedge_stop_shutdown(stop, plan, &ops, NULL, NULL));
    WRONG(unwedge_stop_shutdown(stop, plan, NULL, &mutex, NULL));
    WRONG(unwedge_stop_shutdown(stop, plan, &no_unlock, &mutex, NULL));

    WRONG(unwedge_plan_new(-1, &plan));
    WRONG(unwedge_plan_new(0, NULL));
    WRONG(unwedge_plan_drain(NULL, 0));
    WRONG(unwedge_plan_drain(plan, -1));
    WRONG(unwedge_plan_phase(NULL, "a", 0, step, NULL, NULL));
    WRONG(unwedge_plan_phase(plan, NULL, 0, step, NULL, NULL));
    WRONG(unwedge_plan_phase(plan, "a", -1, step, NULL, NULL));
    WRONG(unwedge_plan_phase(plan, "a", 0, NULL, NULL, NULL));

    unwedge_step_t full = {.name = "a", .run = step};
    const unwedge_monitor_t *const none[] = {NULL};
    WRONG(unwedge_plan_step(plan, NULL));
    WRONG(unwedge_plan_step(NULL, &full));
    full.name = NULL;
    WRONG(unwedge_plan_step(plan, &full));
    full.name = "a";
    full.run = NULL;
    WRONG(unwedge_plan_step(plan, &full));
    full.run = step;
    full.limit = -1;
    WRONG(unwedge_plan_step(plan, &full));
    full.limit = 0;
    full.flags = 4;
    WRONG(unwedge_plan_step(plan, &full));
    full.flags = 0;
    full.holding = (unwedge_monitor_t *)stop;
    WRONG(unwedge_plan_step(plan, &full));
    full.holding = NULL;
    full.not_holding_count = 1;
    WRONG(unwedge_plan_step(plan, &full));
    full.not_holding = none;
    WRONG(unwedge_plan_step(plan, &full));
    full.not_holding_count = 0;
    full.reserved[3] = stop;
    WRONG(unwedge_plan_step(plan, &full));

    WRONG(unwedge_report_ref(NULL));
    WRONG(unwedge_report_inversions(NULL));
    WRONG(unwedge_report_is_clean(NULL));
    WRONG(unwedge_report_members(NULL));
    WRONG(unwedge_report_write(NULL, UNWEDGE_TEXT, buffer, sizeof buffer));
    WRONG(unwedge_report_write(report, 99, buffer, sizeof buffer));
    WRONG(unwedge_report_write(report, -1, buffer, sizeof buffer));
    WRONG(unwedge_report_write(report, UNWEDGE_TEXT, NULL, 1));
    WRONG(unwedge_report_fd(-1));
    CHECK(unwedge_report_fd(1000000) == -EBADF);

    WRONG(unwedge_condvar_new(NULL));
    WRONG(unwedge_condvar_ref(NULL));
    WRONG(unwedge_condvar_waits(NULL, &waits));
    WRONG(unwedge_condvar_waits(condvar, NULL));
    WRONG(unwedge_condvar_notify_one(NULL));
    WRONG(unwedge_condvar_notify_all((unwedge_condvar_t *)stop));
    WRONG(unwedge_condvar_wait(NULL, stop, &ops, &mutex, -1));
    WRONG(unwedge_condvar_wait(condvar, NULL, &ops, &mutex, -1));
    WRONG(unwedge_condvar_wait(condvar, stop, NULL, &mutex, -1));
    WRONG(unwedge_condvar_wait(condvar, stop, &ops, NULL, -1));
    WRONG(unwedge_condvar_wait(condvar, stop, &no_lock, &mutex, -1));
    WRONG(unwedge_condvar_wait(condvar, stop, &no_unlock, &mutex, -1));
    WRONG(unwedge_condvar_wait(condvar, stop, &newer, &mutex, -1));
    CHECK(pthread_mutex_trylock(&mutex) == EBUSY); /* none of them has let it go */

    WRONG(unwedge_completion_new(NULL, "a", NULL, &completion, &completer));
    WRONG(unwedge_completion_new(stop, NULL, NULL, &completion, &completer));
    WRONG(unwedge_completion_new(stop, "a", NULL, NULL, &completer));
    WRONG(unwedge_completion_new(stop, "a", NULL, &completion, NULL));
    WRONG(unwedge_completion_ref(NULL));
    WRONG(unwedge_completion_is_complete(NULL));
    WRONG(unwedge_completion_wait(NULL, NULL, 0, &result));
    WRONG(unwedge_completion_wait(completion, NULL, 0, NULL));
    WRONG(unwedge_completion_wait(completion, (unwedge_stop_t *)io, 0, &result));
    WRONG(unwedge_completion_wait_unlocked(NULL, stop, &ops, &mutex, 0, &result));
    WRONG(unwedge_completion_wait_unlocked(completion, NULL, &ops, &mutex, 0, &result));
    WRONG(unwedge_completion_wait_unlocked(completion, stop, NULL, &mutex, 0, &result));
    WRONG(unwedge_completion_wait_unlocked(completion, stop, &ops, NULL, 0, &result));
    WRONG(unwedge_completion_wait_unlocked(completion, stop, &ops, &mutex, 0, NULL));
    WRONG(unwedge_completion_on_complete(NULL, stop, callback, NULL));
    WRONG(unwedge_completion_on_complete(completion, NULL, callback, NULL));
    WRONG(unwedge_completion_on_complete(completion, stop, NULL, NULL));
    WRONG(unwedge_completion_take(NULL, &value));
    WRONG(unwedge_completion_take(completion, NULL));
    WRONG(unwedge_completion_bytes(NULL, &data, &len));
    WRONG(unwedge_completion_file(NULL, &file));
    WRONG(unwedge_completion_stat(NULL, &stat));
    WRONG(unwedge_completer_ref(NULL));
    WRONG(unwedge_completer_complete(NULL, 0, NULL));
    WRONG(unwedge_completer_is_wanted(NULL));
    WRONG(unwedge_completer_on_cancel(NULL, body, NULL, NULL));
    WRONG(unwedge_completer_on_cancel(completer, NULL, NULL, NULL));
    WRONG(unwedge_completer_on_cancel(completer, body, NULL, NULL)); /* no external operation */

    WRONG(unwedge_io_new(NULL, UNWEDGE_AUTO, &second));
    WRONG(unwedge_io_new(stop, 3, &second));
    WRONG(unwedge_io_new(stop, -1, &second));
    WRONG(unwedge_io_new(stop, UNWEDGE_AUTO, NULL));
    WRONG(unwedge_io_with(NULL, stop, &second));
    WRONG(unwedge_io_with(io, NULL, &second));
    WRONG(unwedge_io_with(io, stop, NULL));
    WRONG(unwedge_io_ref(NULL));
    WRONG(unwedge_file_ref(NULL));
    WRONG(unwedge_io_open(NULL, "/", O_RDONLY, 0, &more));
    WRONG(unwedge_io_open(io, NULL, O_RDONLY, 0, &more));
    WRONG(unwedge_io_open(io, "", O_RDONLY, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_RDONLY, 0, NULL));
    WRONG(unwedge_io_open(io, "/", O_ACCMODE, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_RDONLY | O_CREAT, 0600, &more));
    WRONG(unwedge_io_open(io, "/", O_RDONLY | O_TRUNC, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_WRONLY | O_APPEND, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_WRONLY | O_EXCL, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_WRONLY | O_DIRECTORY, 0, &more));
    WRONG(unwedge_io_open(io, "/", O_WRONLY | O_CREAT, 0100000, &more));
    WRONG(unwedge_io_read(NULL, file, 1, 0, &more));
    WRONG(unwedge_io_read(io, NULL, 1, 0, &more));
    WRONG(unwedge_io_read(io, (unwedge_file_t *)io, 1, 0, &more));
    WRONG(unwedge_io_read(io, file, 0, 0, &more));
    WRONG(unwedge_io_read(io, file, SIZE_MAX, 0, &more));
    WRONG(unwedge_io_read(io, file, 1, UINT64_MAX, &more));
    WRONG(unwedge_io_read(io, file, 1, 0, NULL));
    WRONG(unwedge_io_write(NULL, file, "a", 1, 0, &more));
    WRONG(unwedge_io_write(io, NULL, "a", 1, 0, &more));
    WRONG(unwedge_io_write(io, file, NULL, 1, 0, &more));
    WRONG(unwedge_io_write(io, file, "a", 0, 0, &more));
    WRONG(unwedge_io_write(io, file, "a", 1, INT64_MAX, &more));
    WRONG(unwedge_io_write(io, file, "a", 1, 0, NULL));
    WRONG(unwedge_io_sync(NULL, file, 0, &more));
    WRONG(unwedge_io_sync(io, NULL, 0, &more));
    WRONG(unwedge_io_sync(io, file, 0, NULL));
    WRONG(unwedge_io_stat(NULL, "/", &more));
    WRONG(unwedge_io_stat(io, NULL, &more));
    WRONG(unwedge_io_stat(io, "/", NULL));
    WRONG(unwedge_io_external(NULL, "a", NULL, &completion, &completer));
    WRONG(unwedge_io_external(io, NULL, NULL, &completion, &completer));
    WRONG(unwedge_io_external(io, "a", NULL, NULL, &completer));
    WRONG(unwedge_io_external(io, "a", NULL, &completion, NULL));
    WRONG(unwedge_io_metrics(NULL, buffer, sizeof buffer));
    WRONG(unwedge_io_metrics(io, NULL, sizeof buffer));

    WRONG(unwedge_monitor_new(NULL, "a", &monitor_ops, NULL, &monitor));
    WRONG(unwedge_monitor_new(stop, NULL, &monitor_ops, NULL, &monitor));
    WRONG(unwedge_monitor_new(stop, "a", NULL, NULL, &monitor));
    WRONG(unwedge_monitor_new(stop, "a", &monitor_ops, NULL, NULL));
    WRONG(unwedge_monitor_new(stop, "a", &empty_ops, NULL, &monitor));
    WRONG(unwedge_monitor_new(stop, "a", &crooked_ops, NULL, &monitor));
    CHECK(unwedge_monitor_new(stop, "a", &failing_ops, NULL, &monitor) == -EAGAIN);
    CHECK(unwedge_monitor_new(stop, "a", &monitor_ops, NULL, &monitor) == 0);
    WRONG(unwedge_monitor_ref(NULL));
    WRONG(unwedge_monitor_lock(NULL, 0));
    WRONG(unwedge_monitor_lock_in(NULL, stop));
    WRONG(unwedge_monitor_lock_in(monitor, NULL));
    WRONG(unwedge_monitor_unlock(NULL));
    WRONG(unwedge_monitor_wait(NULL, condvar, 0));
    WRONG(unwedge_monitor_wait(monitor, NULL, 0));
    WRONG(unwedge_monitor_wait_for(NULL, completion, &result));
    WRONG(unwedge_monitor_wait_for(monitor, NULL, &result));
    WRONG(unwedge_monitor_wait_for(monitor, completion, NULL));
    CHECK(unwedge_monitor_place(NULL) == NULL && unwedge_monitor_place(monitor) != NULL);
    /* Who does not hold it. */
    CHECK(unwedge_monitor_unlock(monitor) == -EPERM);
    CHECK(unwedge_monitor_wait(monitor, condvar, 0) == -EPERM);
    CHECK(unwedge_monitor_wait_for(monitor, completion, &result) == -EPERM);
    CHECK(unwedge_monitor_lock_in(monitor, stop) == 0 && unwedge_monitor_lock(monitor, -1) == -EDEADLK);
    CHECK(unwedge_monitor_lock_in(monitor, stop) == -EDEADLK);
    unwedge_monitor_release(monitor); /* while it is held: who holds it has a count */
    CHECK(unwedge_monitor_unlock(monitor) == 0);
    unwedge_monitor_release(NULL);

    WRONG(unwedge_set_log(-1, log_line, NULL));
    WRONG(unwedge_set_log(6, log_line, NULL));
    WRONG(unwedge_set_log(UNWEDGE_LOG_INFO, NULL, NULL));

    unwedge_stop_release(NULL);
    unwedge_plan_release(NULL);
    unwedge_report_release(NULL);
    unwedge_condvar_release(NULL);
    unwedge_completion_release(NULL);
    unwedge_completer_release(NULL);
    unwedge_io_release(NULL);
    unwedge_file_release(NULL);

    /* All of that has changed nothing. */
    CHECK(result == 0 && unwedge_stop_is_requested(stop) == 0);
    CHECK(unwedge_completer_complete(completer, 4, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 4);
    CHECK(unwedge_stop_shutdown(stop, plan, &ops, &mutex, NULL) == 1);
    CHECK(pthread_mutex_trylock(&mutex) == 0);
    pthread_mutex_unlock(&mutex);
    unwedge_file_release(file);
    unwedge_io_release(io);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);
    unwedge_condvar_release(condvar);
    unwedge_plan_release(plan);
    unwedge_report_release(report);
    unwedge_stop_release(stop);
    puts("arguments: all as it should be");
    return 0;
}
