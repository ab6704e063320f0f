/* Handles that are released while a call with them goes on: by what the call calls back, by whom it wakes, by a third thread. Nothing that it still uses is freed. */
#include "unwedge.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

static unwedge_stop_t *stop;

/* ---- A monitor whose last handle goes while a thread takes it ---- */

struct lock {
    atomic_int held;
};
static struct {
    unwedge_monitor_t *monitor;
    atomic_int tries, go_on, ended;
} m;

static int make(void *place, void *arg) { return arg != NULL || ((struct lock *)place)->held; }
static void end(void *place) {
    CHECK(!((struct lock *)place)->held);
    m.ended++;
}
static int try_lock(void *place) {
    m.tries++;
    while (!m.go_on) sched_yield();
    return atomic_exchange(&((struct lock *)place)->held, 1) ? EBUSY : 0;
}
static void unlock(void *place) {
    CHECK(m.ended == 0);
    ((struct lock *)place)->held = 0;
}
static const unwedge_monitor_ops_t ops = {
    .size = sizeof(struct lock), .align = _Alignof(struct lock), .make = make, .end = end, .try_lock = try_lock, .unlock = unlock};

static void *takes(void *arg) {
    CHECK((arg ? unwedge_monitor_lock_in(m.monitor, arg) : unwedge_monitor_lock(m.monitor, -1)) == 0);
    /* Nobody else has a count any more; who holds it has one until it is let go. */
    CHECK(m.ended == 0 && unwedge_monitor_place(m.monitor) != NULL);
    CHECK(unwedge_monitor_unlock(m.monitor) == 0);
    CHECK(m.ended == 1);
    return NULL;
}

static void *is_stopped(void *arg) {
    CHECK(unwedge_monitor_lock(m.monitor, arg ? SECOND : -1) == -ECANCELED);
    return NULL;
}

static void monitors(void) {
    pthread_t thread;
    for (int round = 0; round < 2; round++) {
        m.tries = m.go_on = m.ended = 0;
        CHECK(unwedge_monitor_new(stop, "released", &ops, NULL, &m.monitor) == 0);
        CHECK(pthread_create(&thread, NULL, takes, round ? stop : NULL) == 0);
        while (!m.tries) sched_yield();
        unwedge_monitor_release(m.monitor);
        CHECK(m.ended == 0);
        m.go_on = 1;
        pthread_join(thread, NULL);
        CHECK(m.ended == 1);
    }
    /* It waits, and a stop ends it; the lock is held by who has the last count. */
    unwedge_stop_t *domain;
    m.tries = m.ended = 0;
    CHECK(unwedge_stop_new("stopped", NULL, NULL, NULL, &domain) == 0);
    CHECK(unwedge_monitor_new(domain, "released", &ops, NULL, &m.monitor) == 0);
    CHECK(unwedge_monitor_lock(m.monitor, -1) == 0);
    m.tries = 0;
    CHECK(pthread_create(&thread, NULL, is_stopped, NULL) == 0);
    while (!m.tries) sched_yield();
    unwedge_monitor_release(m.monitor);
    unwedge_stop_request(domain, "enough");
    pthread_join(thread, NULL);
    CHECK(m.ended == 0 && unwedge_monitor_unlock(m.monitor) == 0 && m.ended == 1);
    unwedge_stop_release(domain);
}

/* ---- Whoever is woken releases what it was woken with ---- */

static int mutex_lock(void *lock) { return pthread_mutex_lock(lock); }
static void mutex_unlock(void *lock) { pthread_mutex_unlock(lock); }
static int mutex_try_lock(void *lock) { return pthread_mutex_trylock(lock); }
static const unwedge_lock_ops_t mutex_ops = {.lock = mutex_lock, .unlock = mutex_unlock, .try_lock = mutex_try_lock};

struct shared {
    pthread_mutex_t mutex;
    unwedge_stop_t *domain;
    unwedge_condvar_t *changed;
    unwedge_completion_t *completion;
    unwedge_completer_t *completer;
    atomic_int waits;
    int way;
};

/* Waits in one of the ways, and releases the handle with which it was woken. */
static void *is_woken(void *arg) {
    struct shared *shared = arg;
    int64_t result = 0;
    pthread_mutex_lock(&shared->mutex);
    shared->waits = 1;
    switch (shared->way) {
        case 0:
        case 1:
            CHECK(unwedge_condvar_wait(shared->changed, stop, &mutex_ops, &shared->mutex, -1) == 0);
            unwedge_condvar_release(shared->changed);
            pthread_mutex_unlock(&shared->mutex);
            break;
        case 2:
            pthread_mutex_unlock(&shared->mutex);
            CHECK(unwedge_stop_wait(shared->domain, -1) == 1);
            unwedge_stop_release(shared->domain);
            break;
        case 3:
            pthread_mutex_unlock(&shared->mutex);
            while (unwedge_stop_is_requested(shared->domain) == 0) sched_yield();
            unwedge_stop_release(shared->domain);
            break;
        default:
            CHECK(unwedge_completion_wait_unlocked(shared->completion, stop, &mutex_ops, &shared->mutex, -1, &result) == 0 && result == 3);
            unwedge_completion_release(shared->completion);
            unwedge_completer_release(shared->completer);
            pthread_mutex_unlock(&shared->mutex);
    }
    return NULL;
}

static void *wakes(void *arg) {
    struct shared *shared = arg;
    while (!shared->waits) sched_yield();
    pthread_mutex_lock(&shared->mutex); /* it waits: it has let the lock go */
    pthread_mutex_unlock(&shared->mutex);
    switch (shared->way) {
        case 0: CHECK(unwedge_condvar_notify_one(shared->changed) == 1); break;
        case 1: CHECK(unwedge_condvar_notify_all(shared->changed) == 1); break;
        case 2:
        case 3: CHECK(unwedge_stop_request(shared->domain, "enough") == 1); break;
        default: CHECK(unwedge_completer_complete(shared->completer, 3, NULL) == 1);
    }
    return NULL;
}

static void woken(void) {
    for (int round = 0; round < 2000; round++) {
        struct shared shared = {.mutex = PTHREAD_MUTEX_INITIALIZER, .way = round % 5};
        pthread_t waiter, waker;
        CHECK(unwedge_stop_new("woken", NULL, NULL, NULL, &shared.domain) == 0 && unwedge_condvar_new(&shared.changed) == 0);
        CHECK(unwedge_completion_new(stop, "woken", NULL, &shared.completion, &shared.completer) == 0);
        CHECK(pthread_create(&waiter, NULL, is_woken, &shared) == 0 && pthread_create(&waker, NULL, wakes, &shared) == 0);
        pthread_join(waiter, NULL);
        pthread_join(waker, NULL);
        if (shared.way > 1) unwedge_condvar_release(shared.changed);
        if (shared.way < 2 || shared.way > 3) unwedge_stop_release(shared.domain);
        if (shared.way < 4) {
            unwedge_completion_release(shared.completion);
            unwedge_completer_release(shared.completer);
        }
    }
}

/* ---- A callback releases what the call was given that it comes from ---- */

static void releases_completer(void *arg) { unwedge_completer_release(arg); }
static atomic_int callbacks;
static void completed(void *arg, int status, int64_t result, unwedge_completion_t *completion) {
    CHECK(status == 0 && result == 5 && completion != NULL);
    unwedge_stop_release(arg);
    callbacks++;
}

static void called_back(void) {
    unwedge_io_t *io;
    CHECK(unwedge_io_new(stop, UNWEDGE_POOL, &io) == 0);
    for (int round = 0; round < 300; round++) {
        unwedge_completion_t *completion;
        unwedge_completer_t *completer;
        unwedge_stop_t *domain;
        /* Too late: the hook runs at once, beside the call, and takes the last count of the completer. */
        CHECK(unwedge_io_external(io, "osd_op", NULL, &completion, &completer) == 0);
        unwedge_completion_release(completion);
        CHECK(unwedge_completer_on_cancel(completer, releases_completer, completer, NULL) == 0);
        /* The value's end, within the call that brings the value. */
        CHECK(unwedge_completion_new(stop, "unwanted", releases_completer, &completion, &completer) == 0);
        unwedge_completion_release(completion);
        CHECK(unwedge_completer_complete(completer, 0, completer) == 0);
        /* A callback that takes the last count of the domain on whose thread it runs. */
        CHECK(unwedge_stop_new("callback", NULL, NULL, NULL, &domain) == 0);
        CHECK(unwedge_completion_new(stop, "there", NULL, &completion, &completer) == 0);
        CHECK(unwedge_completer_complete(completer, 5, NULL) == 1);
        CHECK(unwedge_completion_on_complete(completion, domain, completed, domain) == 0);
        unwedge_completion_release(completion);
        unwedge_completer_release(completer);
    }
    while (callbacks < 300) sched_yield();
    unwedge_io_release(io);
}

int main(void) {
    alarm(100);
    CHECK(unwedge_stop_new("releases", NULL, NULL, NULL, &stop) == 0);
    monitors();
    woken();
    called_back();
    CHECK(unwedge_stop_shutdown(stop, NULL, NULL, NULL, NULL) == 1);
    unwedge_stop_release(stop);
    puts("releases: all as it should be");
    return 0;
}
