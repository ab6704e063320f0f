/* The C ABI from C: waits over a pthread mutex and a spinlock, completions, I/O, a shutdown with phases, reports, the log, the start hook. */
#include "unwedge.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

static int mutex_lock(void *lock) { return pthread_mutex_lock(lock); }
static void mutex_unlock(void *lock) { pthread_mutex_unlock(lock); }
static int mutex_try_lock(void *lock) { return pthread_mutex_trylock(lock); }
static const unwedge_lock_ops_t mutex_ops = {.lock = mutex_lock, .unlock = mutex_unlock, .try_lock = mutex_try_lock};

static int spin_lock(void *lock) { return pthread_spin_lock(lock); }
static void spin_unlock(void *lock) { pthread_spin_unlock(lock); }
static const unwedge_lock_ops_t spin_ops = {.lock = spin_lock, .unlock = spin_unlock};

static unwedge_stop_t *stop;
static unwedge_condvar_t *changed;
static const size_t *waits; /* of `changed` */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int turn;

/* Waits until a report of `domain` has this in it. */
static void until_report_has(unwedge_stop_t *domain, const char *text) {
    for (;;) {
        unwedge_report_t *report;
        char place[4096];
        CHECK(unwedge_stop_report(domain, &report) == 0);
        CHECK(unwedge_report_write(report, UNWEDGE_TEXT, place, sizeof place) > 0);
        unwedge_report_release(report);
        if (strstr(place, text)) return;
        sched_yield();
    }
}

static void take_turns(void *arg) {
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != *(int *)arg) CHECK(unwedge_condvar_wait(changed, stop, &mutex_ops, &mutex, -1) == 0);
        turn = !turn;
        /* While nobody waits a notification may be left out. */
        if (__atomic_load_n(waits, __ATOMIC_RELAXED) != 0) unwedge_condvar_notify_one(changed);
        pthread_mutex_unlock(&mutex);
    }
}

static void *take_turns_unseen(void *arg) {
    take_turns(arg);
    return NULL;
}

/* Two threads take turns: one of the domain, and one that the library has never seen. */
static void turns(void) {
    static int zero = 0, one = 1;
    pthread_t unseen;
    CHECK(unwedge_stop_spawn(stop, "turns", take_turns, &zero) == 0);
    CHECK(pthread_create(&unseen, NULL, take_turns_unseen, &one) == 0);
    pthread_join(unseen, NULL);
    CHECK(__atomic_load_n(waits, __ATOMIC_RELAXED) == 0);
    CHECK(unwedge_condvar_notify_one(changed) == 0);
    CHECK(unwedge_condvar_notify_all(changed) == 0);
}

static void timeouts(void) {
    pthread_spinlock_t spin;
    int64_t result = 7;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    pthread_spin_init(&spin, 0);
    pthread_mutex_lock(&mutex);
    CHECK(unwedge_condvar_wait(changed, stop, &mutex_ops, &mutex, 1000000) == -ETIMEDOUT);
    CHECK(pthread_mutex_trylock(&mutex) == EBUSY); /* it is ours again */
    pthread_mutex_unlock(&mutex);
    pthread_spin_lock(&spin);
    CHECK(unwedge_condvar_wait(changed, stop, &spin_ops, (void *)&spin, 0) == -ETIMEDOUT);
    CHECK(pthread_spin_trylock(&spin) == EBUSY);
    CHECK(unwedge_completion_new(stop, "answer", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completion_wait_unlocked(completion, stop, &spin_ops, (void *)&spin, 1000, &result) == -ETIMEDOUT);
    CHECK(pthread_spin_trylock(&spin) == EBUSY);
    pthread_spin_unlock(&spin);
    CHECK(unwedge_completion_wait(completion, NULL, 0, &result) == -ETIMEDOUT && result == 7);
    CHECK(unwedge_completion_is_complete(completion) == 0);
    unwedge_completer_release(completer);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == -EOWNERDEAD);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == -EOWNERDEAD); /* it stays */
    unwedge_completion_release(completion);
}

static atomic_int freed;

static void free_value(void *value) {
    free(value);
    freed++;
}

static char *copy(const char *text) {
    char *made = malloc(strlen(text) + 1);
    return strcpy(made, text);
}

static void complete_late(void *arg) {
    unwedge_completer_t *completer = arg;
    until_report_has(stop, "waits");
    unwedge_completer_complete(completer, 5, copy("hello"));
    unwedge_completer_release(completer);
}

static void waits_with_the_lock(void *arg) {
    int64_t result = 0;
    void *value = NULL;
    pthread_mutex_lock(&mutex);
    CHECK(unwedge_completion_wait_unlocked(arg, stop, &mutex_ops, &mutex, -1, &result) == 0);
    CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
    pthread_mutex_unlock(&mutex);
    CHECK(result == 5 && unwedge_completion_take(arg, &value) == 0 && strcmp(value, "hello") == 0);
    CHECK(unwedge_completion_take(arg, &value) == -EALREADY);
    free(value);
    unwedge_completion_release(arg);
}

static atomic_int called;

static void on_complete(void *arg, int status, int64_t result, unwedge_completion_t *completion) {
    void *value = NULL;
    CHECK(arg == &called && status == 0 && result == 9);
    CHECK(unwedge_completion_take(completion, &value) == 0 && strcmp(value, "nine") == 0);
    free(value);
    called++;
}

static void on_complete_stopped(void *arg, int status, int64_t result, unwedge_completion_t *completion) {
    CHECK(status == -ECANCELED && result == -ECANCELED && completion != NULL);
    (*(atomic_int *)arg)++;
}

static void completions(void) {
    unwedge_completion_t *completion;
    unwedge_completer_t *completer, *other;
    unwedge_stop_t *part;
    int64_t result = 0;
    void *value = NULL;

    CHECK(unwedge_completion_new(stop, "late", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completion_take(completion, &value) == -EAGAIN);
    CHECK(unwedge_stop_spawn(stop, "waiter", waits_with_the_lock, completion) == 0);
    CHECK(unwedge_stop_spawn(stop, "completer", complete_late, completer) == 0);
    while (atomic_load(&freed) != 0) abort(); /* a value that was taken is not freed */

    /* Nobody wants it any more: it is freed. */
    CHECK(unwedge_completion_new(stop, "unwanted", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completer_is_wanted(completer) == 1);
    unwedge_completion_release(completion);
    CHECK(unwedge_completer_is_wanted(completer) == 0);
    CHECK(unwedge_completer_complete(completer, 0, copy("late")) == 0 && atomic_load(&freed) == 1);
    CHECK((value = copy("twice")) && unwedge_completer_complete(completer, 0, value) == -EALREADY);
    free(value); /* it is still ours */
    unwedge_completer_release(completer);

    /* It was given and never taken: it is freed with the completion. */
    CHECK(unwedge_completion_new(stop, "untaken", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 0, copy("untaken")) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0);
    CHECK(unwedge_completion_ref(completion) == 0);
    unwedge_completion_release(completion);
    CHECK(atomic_load(&freed) == 1);
    unwedge_completion_release(completion);
    CHECK(atomic_load(&freed) == 2);
    unwedge_completer_release(completer);

    /* What a wait has given stays, also after a stop; who names a domain is told of its stop. */
    CHECK(unwedge_stop_child(stop, "stays", &part) == 0);
    CHECK(unwedge_completion_new(part, "given", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 6, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 6);
    CHECK(unwedge_stop_request(part, "stays") == 1);
    result = 0;
    CHECK(unwedge_completion_wait(completion, part, -1, &result) == -ECANCELED && result == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 6);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);
    CHECK(unwedge_completion_new(part, "not given", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 6, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == -ECANCELED);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);
    unwedge_stop_release(part);

    /* A value that is NULL is none. */
    CHECK(unwedge_completion_new(stop, "none", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 3, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 3);
    CHECK(unwedge_completion_take(completion, &value) == -ENODATA);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);

    /* A callback, also after its handle was released. */
    CHECK(unwedge_completion_new(stop, "callback", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completion_on_complete(completion, stop, on_complete, &called) == 0);
    CHECK(unwedge_completion_on_complete(completion, stop, on_complete, &called) == -EBUSY);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == -EBUSY);
    unwedge_completion_release(completion);
    CHECK(unwedge_completer_complete(completer, 9, copy("nine")) == 1);
    while (atomic_load(&called) == 0) sched_yield();
    unwedge_completer_release(completer);

    /* A stop of the callback's domain. */
    CHECK(unwedge_stop_child(stop, "part", &part) == 0);
    CHECK(unwedge_completion_new(stop, "other", free_value, &completion, &other) == 0);
    CHECK(unwedge_completion_on_complete(completion, part, on_complete_stopped, &called) == 0);
    CHECK(unwedge_stop_request(part, "part") == 1 && unwedge_stop_is_requested(stop) == 0);
    while (atomic_load(&called) == 1) sched_yield();
    unwedge_completion_release(completion);
    unwedge_completer_release(other);
    unwedge_stop_release(part);
}

static void files(void) {
    unwedge_io_t *io;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    unwedge_file_t *file;
    unwedge_stat_t stat;
    const void *data;
    size_t len;
    char path[64], json[4096];
    int64_t result;

    snprintf(path, sizeof path, "/tmp/unwedge-basics-%d", (int)getpid());
    CHECK(unwedge_io_new(stop, UNWEDGE_AUTO, &io) == 0);
    CHECK(unwedge_io_open(io, path, O_RDWR | O_CREAT | O_EXCL, 0600, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 0);
    CHECK(unwedge_completion_file(completion, &file) == 0);
    CHECK(unwedge_completion_bytes(completion, &data, &len) == -ENODATA);
    unwedge_completion_release(completion);
    unlink(path);
    CHECK(unwedge_io_write(io, file, "ceph fs volume", 14, 0, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 14);
    unwedge_completion_release(completion);
    CHECK(unwedge_io_sync(io, file, 1, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 0);
    unwedge_completion_release(completion);
    CHECK(unwedge_io_read(io, file, 4096, 5, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 9);
    CHECK(unwedge_completion_bytes(completion, &data, &len) == 0 && len == 9 && memcmp(data, "fs volume", 9) == 0);
    unwedge_completion_release(completion);
    CHECK(unwedge_io_stat(io, "/proc/self", &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 0);
    CHECK(unwedge_completion_stat(completion, &stat) == 0 && (stat.mode & 0170000) == 0040000);
    unwedge_completion_release(completion);
    CHECK(unwedge_io_open(io, "/nonexistent/1", O_RDONLY, 0, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == -ENOENT);
    CHECK(unwedge_completion_file(completion, &file) == -ENODATA);
    unwedge_completion_release(completion);
    CHECK(unwedge_io_external(io, "osd_op", free_value, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 42, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 42);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);
    CHECK(unwedge_io_metrics(io, json, sizeof json) > 0 && strstr(json, "\"external\":{\"done\":1,"));
    unwedge_io_release(io);
    unwedge_file_release(file);
}

static atomic_int hooks, hook_freed, phases, phase_freed, cancels, cancel_freed;
static void on_start(void *arg, const char *name) {
    CHECK(arg == &hooks && name[0] != '\0');
    hooks++;
}
static void hook_free(void *arg) { CHECK(arg == &hooks); hook_freed++; }
static void on_cancel(void *arg) { CHECK(arg == &cancels); cancels++; }
static void cancel_free(void *arg) { CHECK(arg == &cancels); cancel_freed++; }

static int phase_step(unwedge_stop_t *phase, void *arg) {
    unwedge_completion_t *completion = arg;
    int64_t result = 0;
    CHECK(unwedge_stop_is_requested(phase) == 0);
    /* Its own domain is stopped, the phase is not. */
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == -ECANCELED);
    CHECK(unwedge_completion_wait(completion, phase, -1, &result) == 0 && result == 11);
    phases++;
    return 0;
}
static int phase_fails(unwedge_stop_t *phase, void *arg) {
    CHECK(phase != NULL && arg == NULL);
    return EIO;
}
static void phase_free(void *arg) { unwedge_completion_release(arg); phase_freed++; }

static void waits_for_ever(void *arg) {
    unwedge_stop_t *domain = arg;
    pthread_mutex_lock(&mutex);
    CHECK(unwedge_condvar_wait(changed, domain, &mutex_ops, &mutex, -1) == -ECANCELED);
    /* The lock is not ours: who stops has it. */
}
static void sleeps(void *arg) { CHECK(unwedge_stop_wait(arg, -1) == 1); }

static int report_pipe[2];
static volatile sig_atomic_t reported;
static void on_signal(int signal) {
    (void)signal;
    reported = unwedge_report_fd(report_pipe[1]) == 0 ? 1 : -1;
}

/* The other forms, and that of the whole process from a signal handler. */
static void reports(unwedge_stop_t *domain) {
    unwedge_report_t *report;
    char text[65536];
    ssize_t len;
    CHECK(unwedge_stop_report(domain, &report) == 0);
    CHECK(unwedge_report_write(report, UNWEDGE_JSON, text, sizeof text) < (int)sizeof text);
    CHECK(text[0] == '{' && strstr(text, "replay") && strstr(text, "beacon"));
    CHECK(unwedge_report_write(report, UNWEDGE_DOT, text, sizeof text) < (int)sizeof text);
    CHECK(strstr(text, "digraph") && strstr(text, "replay"));
    unwedge_report_release(report);
    CHECK(pipe(report_pipe) == 0 && signal(SIGUSR1, on_signal) != SIG_ERR);
    raise(SIGUSR1);
    len = read(report_pipe[0], text, sizeof text - 1);
    CHECK(reported == 1 && len > 0);
    text[len] = '\0';
    CHECK(strstr(text, "replay") && strstr(text, "beacon"));
    close(report_pipe[0]);
    close(report_pipe[1]);
}

/* A shutdown by who holds the lock for which a stopped wait would have to queue; phases; the report. */
static void shutdowns(void) {
    unwedge_stop_t *domain;
    unwedge_plan_t *plan;
    unwedge_report_t *report;
    unwedge_completion_t *completion, *never;
    unwedge_completer_t *completer, *owed;
    unwedge_io_t *io;
    char text[4096];
    CHECK(unwedge_stop_new("mds.a", on_start, &hooks, hook_free, &domain) == 0);
    CHECK(unwedge_io_new(domain, UNWEDGE_POOL, &io) == 0);
    CHECK(unwedge_io_external(io, "osd_op", free_value, &never, &owed) == 0);
    CHECK(unwedge_completer_on_cancel(owed, on_cancel, &cancels, cancel_free) == 0);
    CHECK(unwedge_stop_spawn(domain, "replay", waits_for_ever, domain) == 0);
    CHECK(unwedge_stop_spawn(domain, "beacon", sleeps, domain) == 0);
    until_report_has(domain, "condition variable");
    until_report_has(domain, "the stop");
    CHECK(unwedge_completion_new(domain, "table", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 11, NULL) == 1);
    unwedge_completer_release(completer);
    CHECK(unwedge_plan_new(30 * SECOND, &plan) == 0 && unwedge_plan_drain(plan, 0) == 0);
    CHECK(unwedge_plan_phase(plan, "save", 10 * SECOND, phase_step, completion, phase_free) == 0);
    CHECK(unwedge_plan_phase(plan, "fails", 10 * SECOND, phase_fails, NULL, NULL) == 0);
    reports(domain);
    pthread_mutex_lock(&mutex);
    /* The external operation is not ended by its library: it is what is left. */
    CHECK(unwedge_stop_shutdown(domain, plan, &mutex_ops, &mutex, &report) == 0);
    CHECK(pthread_mutex_trylock(&mutex) == 0);
    pthread_mutex_unlock(&mutex);
    CHECK(unwedge_report_is_clean(report) == 0 && unwedge_report_members(report) == 0);
    CHECK(unwedge_report_write(report, UNWEDGE_TEXT, NULL, 0) < (int)sizeof text);
    CHECK(unwedge_report_write(report, UNWEDGE_TEXT, text, sizeof text) == (int)strlen(text));
    CHECK(strstr(text, "phase save: done") && strstr(text, "phase fails: failed: Input/output error"));
    CHECK(strstr(text, "in the kernel: 1 operations"));
    CHECK(unwedge_report_write(report, UNWEDGE_TEXT, text, 4) > 4 && strlen(text) == 3);
    CHECK(unwedge_stop_reason(domain, text, sizeof text) == 8 && strcmp(text, "shutdown") == 0);
    CHECK(unwedge_stop_shutdown(domain, plan, NULL, NULL, NULL) == -EINVAL); /* a plan is used once */
    CHECK(atomic_load(&phases) == 1 && atomic_load(&phase_freed) == 1);
    CHECK(atomic_load(&cancels) == 1 && atomic_load(&cancel_freed) == 1);
    unwedge_report_release(report);
    unwedge_plan_release(plan);
    unwedge_completion_release(never);
    unwedge_completer_release(owed);
    unwedge_io_release(io);
    CHECK(atomic_load(&hooks) >= 3);
    unwedge_stop_release(domain);
    while (atomic_load(&hook_freed) == 0) sched_yield(); /* with the last thread */
}

static atomic_int logged;
static void log_line(void *arg, int level, const char *message) {
    CHECK(arg == &logged && level >= UNWEDGE_LOG_ERROR && level <= UNWEDGE_LOG_DEBUG && !strchr(message, '\n'));
    logged++;
}

static void logs(void) {
    unwedge_stop_t *domain;
    unwedge_io_t *io;
    /* What was asked for, what is more important than what is said, and nothing. */
    const int levels[] = {UNWEDGE_LOG_DEBUG, UNWEDGE_LOG_INFO, UNWEDGE_LOG_OFF};
    for (int round = 0; round < 3; round++) {
        CHECK(unwedge_set_log(levels[round], log_line, &logged) == 0);
        CHECK(unwedge_stop_new("logged", NULL, NULL, NULL, &domain) == 0);
        CHECK(unwedge_io_new(domain, UNWEDGE_POOL, &io) == 0);
        CHECK(unwedge_stop_shutdown(domain, NULL, NULL, NULL, NULL) == 1);
        unwedge_io_release(io);
        unwedge_stop_release(domain);
        CHECK(atomic_load(&logged) == 1); /* that nothing was left, in the first round; in the others nobody is told */
    }
}

int main(void) {
    CHECK(unwedge_stop_new("basics", NULL, NULL, NULL, &stop) == 0);
    CHECK(unwedge_condvar_new(&changed) == 0 && unwedge_condvar_waits(changed, &waits) == 0);
    turns();
    timeouts();
    completions();
    files();
    shutdowns();
    logs();
    CHECK(unwedge_stop_shutdown(stop, NULL, NULL, NULL, NULL) == 1);
    CHECK(strcmp(unwedge_strerror(-ECANCELED), "stopped: the lock is not held") == 0 && unwedge_version()[0] == '0');
    CHECK(strcmp(unwedge_strerror(-ENOENT), strerror(ENOENT)) == 0 && unwedge_strerror(-ENOENT) == unwedge_strerror(-ENOENT));
    CHECK(strcmp(unwedge_strerror(7), "no error") == 0 && strcmp(unwedge_strerror(-100000), strerror(100000)) == 0);
    CHECK(strcmp(unwedge_strerror(INT_MIN), "another error") == 0);
    unwedge_condvar_release(changed);
    unwedge_stop_release(stop);
    puts("basics: all as it should be");
    return 0;
}
