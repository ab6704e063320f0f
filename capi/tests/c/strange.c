/* What a daemon does to its libraries: threads that are cancelled, a fork, a dlclose, waits at the process's end. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "unwedge.h"

static int mutex_lock(void *lock) { return pthread_mutex_lock(lock); }
static void mutex_unlock(void *lock) { pthread_mutex_unlock(lock); }
static int mutex_try_lock(void *lock) { return pthread_mutex_trylock(lock); }
static const unwedge_lock_ops_t mutex_ops = {.lock = mutex_lock, .unlock = mutex_unlock, .try_lock = mutex_try_lock};
static int fails(void *lock) { (void)lock; return EDEADLK; }
static const unwedge_lock_ops_t failing_ops = {.lock = fails, .unlock = mutex_unlock};
static int fails_for_now(void *lock) { (void)lock; return EAGAIN; }
static const unwedge_lock_ops_t failing_for_now_ops = {.lock = fails_for_now, .unlock = mutex_unlock};
static const unwedge_lock_ops_t failing_try_ops = {.lock = fails, .unlock = mutex_unlock, .try_lock = fails};

static unwedge_stop_t *stop;
static unwedge_condvar_t *changed;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_int waits, came_back;


/* A monitor's lock: a flag. */
static int make(void *place, void *arg) { return arg != NULL || *(atomic_int *)place != 0; }
static int try_flag(void *place) { return atomic_exchange((atomic_int *)place, 1) ? EBUSY : 0; }
static void clear_flag(void *place) { *(atomic_int *)place = 0; }
static const unwedge_monitor_ops_t flag_ops = {
    .size = sizeof(atomic_int), .align = sizeof(atomic_int), .make = make, .try_lock = try_flag, .unlock = clear_flag};

/* Each kind of wait, which a stop of `domain` ends. */
enum { COMPLETION, UNLOCKED, CONDVAR, SLEEP, MONITOR_LOCK, MONITOR_LOCK_IN, MONITOR_WAIT, MONITOR_WAIT_FOR, KINDS };
static struct {
    unwedge_stop_t *domain;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    unwedge_monitor_t *held, *free;
    int kind;
} one;

static void *is_cancelled(void *arg) {
    int64_t result = 0;
    int code = 0;
    waits = 1;
    switch (one.kind) {
        case COMPLETION: code = unwedge_completion_wait(one.completion, NULL, -1, &result); break;
        case UNLOCKED:
            pthread_mutex_lock(&mutex);
            code = unwedge_completion_wait_unlocked(one.completion, one.domain, &mutex_ops, &mutex, -1, &result);
            break;
        case CONDVAR:
            pthread_mutex_lock(&mutex);
            code = unwedge_condvar_wait(changed, one.domain, &mutex_ops, &mutex, -1);
            break;
        case SLEEP: code = unwedge_stop_wait(one.domain, -1) == 1 ? -ECANCELED : 0; break;
        case MONITOR_LOCK: code = unwedge_monitor_lock(one.held, -1); break;
        case MONITOR_LOCK_IN: code = unwedge_monitor_lock_in(one.held, one.domain); break;
        case MONITOR_WAIT:
            CHECK(unwedge_monitor_lock(one.free, -1) == 0);
            waits = 2;
            code = unwedge_monitor_wait(one.free, changed, -1);
            break;
        default:
            CHECK(unwedge_monitor_lock(one.free, -1) == 0);
            waits = 2;
            code = unwedge_monitor_wait_for(one.free, one.completion, &result);
    }
    CHECK(code == -ECANCELED);
    came_back = 1; /* the cancellation has waited for the call's end */
    pthread_testcancel();
    return arg;
}

static void cancellation(void) {
    for (one.kind = 0; one.kind < KINDS; one.kind++) {
        pthread_t thread;
        void *ended;
        waits = came_back = 0;
        CHECK(unwedge_stop_new("cancelled", NULL, NULL, NULL, &one.domain) == 0);
        CHECK(unwedge_completion_new(one.domain, "cancelled", NULL, &one.completion, &one.completer) == 0);
        CHECK(unwedge_monitor_new(one.domain, "held", &flag_ops, NULL, &one.held) == 0 && unwedge_monitor_lock(one.held, -1) == 0);
        CHECK(unwedge_monitor_new(one.domain, "free", &flag_ops, NULL, &one.free) == 0);
        CHECK(pthread_create(&thread, NULL, is_cancelled, &one) == 0);
        while (waits < (one.kind >= MONITOR_WAIT ? 2 : 1)) sched_yield();
        usleep(1000);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(unwedge_stop_request(one.domain, "cancelled") == 1);
        CHECK(pthread_join(thread, &ended) == 0 && ended == PTHREAD_CANCELED && came_back);
        CHECK(unwedge_monitor_unlock(one.held) == 0);
        unwedge_monitor_release(one.held);
        unwedge_monitor_release(one.free);
        unwedge_completion_release(one.completion);
        unwedge_completer_release(one.completer);
        unwedge_stop_release(one.domain);
    }
}

/* What frees what is the caller's may be a place where a thread is cancelled: it waits, as in every call. */
static int freed;
static void frees(void *arg) {
    pthread_testcancel();
    freed += *(int *)arg;
}
static int does_nothing(unwedge_stop_t *phase, void *arg) {
    (void)phase, (void)arg;
    return 0;
}
static void ends(void *place) {
    frees(&(int){10000});
    CHECK(*(atomic_int *)place == 0);
}
static const unwedge_monitor_ops_t ends_ops = {
    .size = sizeof(atomic_int), .align = sizeof(atomic_int), .make = make, .end = ends, .try_lock = try_flag, .unlock = clear_flag};
static void *frees_cancelled(void *arg) {
    static int units = 1, tens = 10, hundreds = 100, thousands = 1000;
    unwedge_stop_t *domain;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    unwedge_plan_t *plan;
    unwedge_monitor_t *monitor;
    unwedge_step_t step = {.name = "never", .run = does_nothing};
    CHECK(pthread_cancel(pthread_self()) == 0);
    CHECK(unwedge_stop_new("cancelled", NULL, &units, frees, &domain) == 0 && freed == 1);
    CHECK(unwedge_plan_new(0, &plan) == 0 && unwedge_plan_phase(plan, "never", 0, does_nothing, &tens, frees) == 0);
    unwedge_plan_release(plan);
    CHECK(freed == 11);
    CHECK(unwedge_completion_new(domain, "unwanted", frees, &completion, &completer) == 0);
    unwedge_completion_release(completion);
    CHECK(unwedge_completer_complete(completer, 0, &hundreds) == 0 && freed == 111);
    unwedge_completer_release(completer);
    CHECK(unwedge_completion_new(domain, "not taken", frees, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 0, &thousands) == 1);
    unwedge_completer_release(completer);
    unwedge_completion_release(completion);
    CHECK(freed == 1111);
    CHECK(unwedge_monitor_new(domain, "last", &ends_ops, NULL, &monitor) == 0 && unwedge_plan_new(0, &plan) == 0);
    step.holding = monitor;
    CHECK(unwedge_plan_step(plan, &step) == 0);
    unwedge_monitor_release(monitor);
    CHECK(freed == 1111); /* the plan has it */
    unwedge_plan_release(plan);
    CHECK(freed == 11111);
    unwedge_stop_release(domain);
    pthread_testcancel();
    return arg;
}

static void cancellation_in_what_frees(void) {
    pthread_t thread;
    void *ended;
    CHECK(pthread_create(&thread, NULL, frees_cancelled, &one) == 0);
    CHECK(pthread_join(thread, &ended) == 0 && ended == PTHREAD_CANCELED && freed == 11111);
}

/* A callback that cannot take the lock: the wait ends without it. */
static void notifies(void *arg) {
    (void)arg;
    while (unwedge_condvar_notify_one(changed) == 0) sched_yield();
}
static void locks_that_fail(void) {
    const unwedge_lock_ops_t *ops[] = {&failing_ops, &failing_try_ops, &failing_for_now_ops};
    for (int i = 0; i < 3; i++) {
        CHECK(unwedge_stop_spawn(stop, "notifier", notifies, NULL) == 0);
        pthread_mutex_lock(&mutex);
        CHECK(unwedge_condvar_wait(changed, stop, ops[i], &mutex, -1) == -ENOLCK);
        CHECK(pthread_mutex_trylock(&mutex) == 0);
        pthread_mutex_unlock(&mutex);
    }
}

/* The last count of a condition variable and of a domain goes while a thread waits with them. */
static void *waits_on_released(void *arg) {
    pthread_mutex_lock(&mutex);
    waits = 3;
    CHECK(unwedge_condvar_wait(changed, arg, &mutex_ops, &mutex, -1) == -ECANCELED);
    return NULL;
}
static void releases(void) {
    unwedge_stop_t *domain;
    unwedge_condvar_t *kept = changed;
    pthread_t thread;
    CHECK(unwedge_stop_new("released", NULL, NULL, NULL, &domain) == 0 && unwedge_condvar_new(&changed) == 0);
    CHECK(pthread_create(&thread, NULL, waits_on_released, domain) == 0);
    while (waits != 3) sched_yield();
    pthread_mutex_lock(&mutex); /* it waits: it has let the lock go */
    pthread_mutex_unlock(&mutex);
    unwedge_condvar_release(changed);
    CHECK(unwedge_stop_request(domain, "released") == 1);
    unwedge_stop_release(domain);
    CHECK(pthread_join(thread, NULL) == 0);
    changed = kept;
}

/* A thread that ends with a monitor's lock held: the next one, which may have its stack, does not hold it for that. */
static unwedge_monitor_t *left_held;
static void *leaves_it_held(void *arg) {
    CHECK(unwedge_monitor_lock(left_held, -1) == 0);
    return arg;
}
static void *comes_after(void *arg) {
    CHECK(unwedge_monitor_unlock(left_held) == -EPERM && unwedge_monitor_lock(left_held, 1000000) == -ETIMEDOUT);
    return arg;
}
static void ended_holders(void) {
    pthread_t thread;
    CHECK(unwedge_monitor_new(stop, "left", &flag_ops, NULL, &left_held) == 0);
    CHECK(pthread_create(&thread, NULL, leaves_it_held, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, comes_after, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

static void in_the_child(unwedge_io_t *io) {
    unwedge_stop_t *own;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    int64_t result = 0;
    /* The parent's I/O is not ours; a domain, a condition variable and a completion are. */
    CHECK(unwedge_io_open(io, "/proc/self/status", O_RDONLY, 0, &completion) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, 20 * SECOND, &result) == 0 && result == -ECHILD);
    unwedge_completion_release(completion);
    CHECK(unwedge_stop_new("child", NULL, NULL, NULL, &own) == 0);
    pthread_mutex_lock(&mutex);
    CHECK(unwedge_condvar_wait(changed, own, &mutex_ops, &mutex, 1000) == -ETIMEDOUT);
    CHECK(unwedge_completion_new(own, "answer", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completer_complete(completer, 1, NULL) == 1);
    CHECK(unwedge_completion_wait(completion, NULL, -1, &result) == 0 && result == 1);
    CHECK(unwedge_stop_request(own, "child") == 1);
    CHECK(unwedge_condvar_wait(changed, own, &mutex_ops, &mutex, -1) == -ECANCELED);
    unwedge_completion_release(completion);
    unwedge_completer_release(completer);
    CHECK(unwedge_io_new(own, UNWEDGE_AUTO, &io) == 0);
    unwedge_io_release(io);
    unwedge_stop_release(own);
    _exit(0);
}

static void forks(void) {
    unwedge_io_t *io;
    int status = 0;
    pid_t child;
    CHECK(unwedge_io_new(stop, UNWEDGE_AUTO, &io) == 0);
    child = fork();
    if (child == 0) in_the_child(io);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unwedge_io_release(io);
}

/* A fork while another thread makes completions under ever other names: in the child that is no lock which nobody lets go. */
static atomic_int forked;
static void *makes_names(void *arg) {
    for (unsigned i = 0; !forked; i++) {
        unwedge_completion_t *completion;
        unwedge_completer_t *completer;
        CHECK(unwedge_completion_new(stop, i % 2 ? "an operation" : "another operation", NULL, &completion, &completer) == 0);
        unwedge_completion_release(completion);
        unwedge_completer_release(completer);
    }
    return arg;
}
static void forks_beside_names(void) {
    /* As many as there is time for: under valgrind the two threads take turns. */
    const time_t end = time(NULL) + 4;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, makes_names, NULL) == 0);
    for (int i = 0; i < 100 && time(NULL) < end; i++) {
        int status = 0;
        pid_t child;
        usleep(50 + i % 50);
        child = fork();
        if (child == 0) {
            unwedge_completion_t *completion;
            unwedge_completer_t *completer;
            alarm(30);
            CHECK(unwedge_completion_new(stop, "the child's", NULL, &completion, &completer) == 0);
            execl("/bin/true", "true", NULL); /* no exit, at which a memory checker would miss what the other thread had */
            _exit(1);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    forked = 1;
    CHECK(pthread_join(thread, NULL) == 0);
}

/* The library is still there after its last dlclose, so a thread of it may run on. */
static void closes(void) {
    void *again = dlopen("libunwedge.so.0", RTLD_NOW);
    void *symbol;
    CHECK(again != NULL);
    symbol = dlsym(again, "unwedge_version");
    CHECK(symbol != NULL);
    dlclose(again);
    dlclose(again); /* once more than it was opened: the program's own count */
    again = dlopen("libunwedge.so.0", RTLD_NOW | RTLD_NOLOAD);
    CHECK(again != NULL && dlsym(again, "unwedge_version") == symbol);
}

/* At the process's end, after thread-locals of the main thread are gone. */
static void at_the_end(void) {
    int64_t result = 0;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    pthread_mutex_lock(&mutex);
    CHECK(unwedge_condvar_wait(changed, stop, &mutex_ops, &mutex, 1000) == -ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
    CHECK(unwedge_completion_new(stop, "last", NULL, &completion, &completer) == 0);
    CHECK(unwedge_completion_wait(completion, NULL, 1000, &result) == -ETIMEDOUT);
    unwedge_completer_release(completer);
    unwedge_completion_release(completion);
    CHECK(unwedge_stop_shutdown(stop, NULL, NULL, NULL, NULL) == 1);
    unwedge_condvar_release(changed);
    unwedge_stop_release(stop);
    CHECK(write(1, "strange: all as it should be\n", 29) == 29);
}
__attribute__((destructor)) static void destructor(void) {
    if (stop) at_the_end();
}

// A stop that comes while a completion that has its result is taken with the lock let go: whoever is told of the stop has the lock no more.
static atomic_int round_begun, round_over, rounds_end;
static void *stops_each_round(void *arg) {
    unsigned seed = 1;
    (void)arg;
    for (int i = 1;; i++) {
        while (round_begun < i && !rounds_end) {}  // not asleep: the two must be at it at once
        if (rounds_end) return NULL;
        for (volatile int pause = rand_r(&seed) % 400; pause > 0; pause--) {}
        unwedge_stop_request(stop, "meanwhile");
        round_over = i;
    }
}
static void stops_beside_a_result(void) {
    // As many as there is time for: on a machine that has one core free a round takes a time slice.
    const time_t end = time(NULL) + 4;
    unsigned seed = 7;
    unwedge_stop_t *kept = stop;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, stops_each_round, NULL) == 0);
    for (int i = 1; i <= 20000 && time(NULL) < end; i++) {
        unwedge_completion_t *completion;
        unwedge_completer_t *completer;
        int64_t result = 0;
        int code;
        CHECK(unwedge_stop_new("round", NULL, NULL, NULL, &stop) == 0);
        CHECK(unwedge_completion_new(stop, "result", NULL, &completion, &completer) == 0);
        CHECK(unwedge_completer_complete(completer, 7, NULL) == 1);
        pthread_mutex_lock(&mutex);
        round_begun = i;
        for (volatile int pause = rand_r(&seed) % 400; pause > 0; pause--) {}
        code = unwedge_completion_wait_unlocked(completion, stop, &mutex_ops, &mutex, -1, &result);
        if (code == -ECANCELED) {
            CHECK(pthread_mutex_trylock(&mutex) == 0);
        } else {
            CHECK(code == 0 && result == 7 && pthread_mutex_trylock(&mutex) == EBUSY);
        }
        pthread_mutex_unlock(&mutex);
        while (round_over < i) {}
        unwedge_completion_release(completion);
        unwedge_completer_release(completer);
        unwedge_stop_release(stop);
    }
    rounds_end = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    stop = kept;
}

int main(void) {
    CHECK(unwedge_stop_new("strange", NULL, NULL, NULL, &stop) == 0 && unwedge_condvar_new(&changed) == 0);
#if !defined(WITH_ASAN)
    /* Not there: the frames that a cancellation unwinds stay poisoned for the sanitizer, which then trips over them at the thread's end itself. */
    cancellation();
    cancellation_in_what_frees();
#else
    (void)cancellation;
    (void)cancellation_in_what_frees;
#endif
    locks_that_fail();
    releases();
    ended_holders();
    stops_beside_a_result();
    forks();
    forks_beside_names();
    closes();
    return 0;
}
