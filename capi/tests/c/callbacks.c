/* When an argument of a callback is freed: once, when the callback cannot come any more, and where a call of the library's may be made. */
#include "unwedge.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

/* While this is set no thread can be started. */
static atomic_int no_threads;
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *arg) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (no_threads) return EAGAIN;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, body, arg);
}

static unwedge_stop_t *stop;
static unwedge_io_t *io;
static unwedge_completer_t *owes;

struct argument {
    atomic_int called, freed;
};
static void hook(void *arg) {
    struct argument *argument = arg;
    CHECK(!argument->freed);
    argument->called++;
}
static void free_argument(void *arg) {
    struct argument *argument = arg;
    argument->freed++;
    /* Whoever frees may call: also what the call has that has brought this about. */
    if (owes) unwedge_completer_is_wanted(owes);
}

static void operation(unwedge_completion_t **completion) {
    CHECK(unwedge_io_external(io, "osd_op", NULL, completion, &owes) == 0);
}

/* A second hook takes the place of the first, whose argument is freed. */
static void twice(void) {
    unwedge_completion_t *completion;
    struct argument first = {0}, second = {0}, third = {0};
    operation(&completion);
    CHECK(unwedge_completer_on_cancel(owes, hook, &first, free_argument) == 0 && !first.freed);
    CHECK(unwedge_completer_on_cancel(owes, hook, &second, free_argument) == 0);
    CHECK(first.freed == 1 && !first.called && !second.freed);
    unwedge_completion_release(completion);
    while (!second.freed) sched_yield();
    CHECK(second.called == 1 && second.freed == 1 && !first.called);
    /* Too late: it comes at once. */
    CHECK(unwedge_completer_on_cancel(owes, hook, &third, free_argument) == 0);
    while (!third.freed) sched_yield();
    CHECK(third.called == 1);
    unwedge_completer_release(owes);
    CHECK(first.freed == 1 && second.freed == 1 && third.freed == 1);
    /* The operation ends first. */
    operation(&completion);
    first = second = (struct argument){0};
    CHECK(unwedge_completer_on_cancel(owes, hook, &first, free_argument) == 0);
    CHECK(unwedge_completer_complete(owes, 1, NULL) == 1 && first.freed == 1 && !first.called);
    CHECK(unwedge_completer_on_cancel(owes, hook, &second, free_argument) == -EALREADY && !second.freed);
    unwedge_completer_release(owes);
    unwedge_completion_release(completion);
}

/* The callback thread cannot be started: the hook that was refused is never called, and one that was there before stays. */
static void refused(void) {
    unwedge_stop_t *part;
    unwedge_io_t *own;
    unwedge_completion_t *completion;
    struct argument early = {0}, first = {0};
    CHECK(unwedge_stop_child(stop, "part", &part) == 0 && unwedge_io_with(io, part, &own) == 0);
    CHECK(unwedge_io_external(own, "osd_op", NULL, &completion, &owes) == 0);
    no_threads = 1;
    CHECK(unwedge_completer_on_cancel(owes, hook, &early, free_argument) == -EAGAIN);
    CHECK(early.freed == 1);
    no_threads = 0;
    CHECK(unwedge_completer_on_cancel(owes, hook, &first, free_argument) == 0);
    CHECK(unwedge_stop_request(part, "enough") == 1); /* is still looked for, though the first try has failed */
    while (!first.freed) sched_yield();
    CHECK(first.called == 1 && !early.called);
    unwedge_completion_release(completion);
    unwedge_completer_release(owes);
    owes = NULL;
    unwedge_io_release(own);
    unwedge_stop_release(part);
}

static void starts(void *arg, const char *name) {
    (void)name;
    hook(arg);
}
static void nothing(void *arg) { (void)arg; }
static int step(unwedge_stop_t *phase, void *arg) {
    hook(arg);
    return phase == NULL;
}

static void domains(void) {
    unwedge_stop_t *domain;
    unwedge_plan_t *plan;
    struct argument arg = {0};
    /* No hook: it cannot come, so it is freed at once. */
    CHECK(unwedge_stop_new("no hook", NULL, &arg, free_argument, &domain) == 0 && arg.freed == 1);
    unwedge_stop_release(domain);
    CHECK(arg.freed == 1);
    /* What fails frees nothing. */
    CHECK(unwedge_stop_new(NULL, starts, &arg, free_argument, &domain) == -EINVAL && arg.freed == 1);
    arg = (struct argument){0};
    CHECK(unwedge_stop_new("hook", starts, &arg, free_argument, &domain) == 0 && !arg.freed);
    CHECK(unwedge_stop_spawn(domain, "thread", nothing, NULL) == 0);
    CHECK(unwedge_stop_shutdown(domain, NULL, NULL, NULL, NULL) == 1);
    unwedge_stop_release(domain);
    while (!arg.freed) sched_yield();
    CHECK(arg.called == 1 && arg.freed == 1);
    /* A plan that no shutdown has used. */
    arg = (struct argument){0};
    CHECK(unwedge_plan_new(SECOND, &plan) == 0);
    CHECK(unwedge_plan_phase(plan, "save", SECOND, step, &arg, free_argument) == 0 && !arg.freed);
    unwedge_plan_release(plan);
    CHECK(arg.freed == 1 && !arg.called);
}

int main(void) {
    alarm(60); /* a call that waits for itself */
    CHECK(unwedge_stop_new("callbacks", NULL, NULL, NULL, &stop) == 0);
    CHECK(unwedge_io_new(stop, UNWEDGE_POOL, &io) == 0);
    twice();
    refused();
    domains();
    CHECK(unwedge_stop_shutdown(stop, NULL, NULL, NULL, NULL) == 1);
    unwedge_io_release(io);
    unwedge_stop_release(stop);
    puts("callbacks: all as it should be");
    return 0;
}
