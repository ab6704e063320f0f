/* Steps of a plan with a lock that they hold or must not find held, a hurry, generations, and locks in contradicting orders. */
#include "unwedge.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

struct lock {
    atomic_int held;
    int saved;
};
static int make(void *place, void *arg) { return arg != NULL || ((struct lock *)place)->held; }
static int try_lock(void *place) { return atomic_exchange(&((struct lock *)place)->held, 1) ? EBUSY : 0; }
static void unlock(void *place) { ((struct lock *)place)->held = 0; }
static const unwedge_monitor_ops_t ops = {.size = sizeof(struct lock), .align = _Alignof(struct lock), .make = make, .try_lock = try_lock, .unlock = unlock};

static unwedge_stop_t *stop;
static unwedge_monitor_t *cache, *table;
static atomic_int order, freed;
static atomic_int early_at, joined_at, save_at, plain_at;

static void counts_free(void *arg) {
    (void)arg;
    freed++;
}
static int early(unwedge_stop_t *phase, void *arg) {
    CHECK(phase && arg == &early_at && unwedge_stop_is_requested(stop) == 1);
    early_at = ++order;
    return 0;
}
static int save(unwedge_stop_t *phase, void *arg) {
    struct lock *place = unwedge_monitor_place(cache);
    CHECK(phase && arg == NULL && place->held && unwedge_monitor_lock_in(cache, phase) == -EDEADLK);
    place->saved = 1;
    save_at = ++order;
    return 0;
}
static int lets_go(unwedge_stop_t *phase, void *arg) {
    CHECK(unwedge_monitor_unlock(cache) == 0 && unwedge_monitor_lock_in(cache, phase) == 0 && unwedge_monitor_unlock(cache) == 0);
    plain_at = ++order;
    return arg != NULL;
}
static int does_nothing(unwedge_stop_t *phase, void *arg) { return phase == NULL || arg; }
static int never(unwedge_stop_t *phase, void *arg) {
    (void)phase, (void)arg;
    abort();
}
static void member(void *arg) {
    CHECK(unwedge_stop_wait(arg, -1) == 1);
    while (!early_at) usleep(1000); /* the early step does not wait for this thread, whose spinning should not keep the step's own from its end */
    joined_at = ++order;
}

/* What shutdown says, with this plan: the report as text. */
static void shut_down(unwedge_stop_t *domain, unwedge_plan_t *plan, char *text, size_t size) {
    unwedge_report_t *report;
    CHECK(unwedge_stop_shutdown(domain, plan, NULL, NULL, &report) >= 0);
    CHECK(unwedge_report_write(report, UNWEDGE_TEXT, text, size) < (int)size);
    unwedge_report_release(report);
    unwedge_plan_release(plan);
}

static void steps(void) {
    char text[8192];
    unwedge_plan_t *plan;
    const unwedge_step_t first = {.name = "stop accepting", .limit = 30 * SECOND, .run = early, .arg = &early_at, .flags = UNWEDGE_STEP_BEFORE_JOIN};
    const unwedge_step_t second = {.name = "save", .limit = 30 * SECOND, .run = save, .free_arg = counts_free, .holding = cache};
    const unwedge_monitor_t *const apart[] = {cache, table};
    const unwedge_step_t third = {.name = "plain", .limit = 30 * SECOND, .run = lets_go, .holding = cache, .not_holding = apart, .not_holding_count = 2,
                                  .flags = UNWEDGE_STEP_OR_ABORT};
    CHECK(unwedge_stop_spawn(stop, "member", member, stop) == 0);
    CHECK(unwedge_plan_new(600 * SECOND, &plan) == 0);
    CHECK(unwedge_plan_step(plan, &second) == 0 && unwedge_plan_step(plan, &third) == 0 && unwedge_plan_step(plan, &first) == 0);
    shut_down(stop, plan, text, sizeof text);
    CHECK(strstr(text, "phase save: done") && strstr(text, "phase plain: done") && strstr(text, "phase stop accepting: done"));
    CHECK(early_at == 1 && joined_at == 2 && save_at == 3 && plain_at == 4 && freed == 1);
    CHECK(((struct lock *)unwedge_monitor_place(cache))->saved && !((struct lock *)unwedge_monitor_place(cache))->held);
}

/* Who shuts down holds what the steps need: they fail at once and say so. */
static void held_by_the_stopper(void) {
    char text[8192];
    unwedge_stop_t *domain;
    unwedge_plan_t *plan;
    unwedge_monitor_t *own;
    CHECK(unwedge_stop_new("held", NULL, NULL, NULL, &domain) == 0);
    CHECK(unwedge_monitor_new(domain, "own_lock", &ops, NULL, &own) == 0);
    const unwedge_monitor_t *const apart[] = {own};
    const unwedge_step_t with = {.name = "with", .limit = 30 * SECOND, .run = never, .free_arg = counts_free, .holding = own};
    const unwedge_step_t without = {.name = "without", .limit = 30 * SECOND, .run = never, .free_arg = counts_free, .not_holding = apart, .not_holding_count = 1};
    CHECK(unwedge_plan_new(600 * SECOND, &plan) == 0 && unwedge_plan_step(plan, &with) == 0 && unwedge_plan_step(plan, &without) == 0);
    CHECK(unwedge_stop_spawn(domain, "member", member, domain) == 0);
    CHECK(unwedge_monitor_lock(own, -1) == 0);
    freed = 0;
    shut_down(domain, plan, text, sizeof text);
    CHECK(strstr(text, "phase with: failed: it needs own_lock") && strstr(text, "phase without: failed: it needs own_lock"));
    CHECK(freed == 2 && unwedge_monitor_unlock(own) == 0);
    unwedge_monitor_release(own);
    unwedge_stop_release(domain);
}

static atomic_int ended;
static void end(void *place) {
    (void)place;
    ended++;
}
/* The handles are let go before the plan: it keeps the locks until its phases are over, or it is released. */
static void kept_by_the_plan(void) {
    char text[8192];
    for (int runs = 0; runs < 2; runs++) {
        unwedge_stop_t *domain;
        unwedge_plan_t *plan;
        unwedge_monitor_t *held, *apart;
        unwedge_monitor_ops_t with_end = ops;
        with_end.end = end;
        ended = 0;
        CHECK(unwedge_stop_new("kept", NULL, NULL, NULL, &domain) == 0);
        CHECK(unwedge_monitor_new(domain, "held", &with_end, NULL, &held) == 0 && unwedge_monitor_new(domain, "apart", &with_end, NULL, &apart) == 0);
        const unwedge_monitor_t *const all[] = {apart};
        const unwedge_step_t step = {.name = "step", .limit = 30 * SECOND, .run = does_nothing, .holding = held, .not_holding = all, .not_holding_count = 1};
        CHECK(unwedge_plan_new(600 * SECOND, &plan) == 0 && unwedge_plan_step(plan, &step) == 0);
        unwedge_monitor_release(held);
        unwedge_monitor_release(apart);
        CHECK(ended == 0);
        if (runs) {
            shut_down(domain, plan, text, sizeof text);
            CHECK(strstr(text, "phase step: done"));
        } else {
            unwedge_plan_release(plan);
        }
        CHECK(ended == 2);
        unwedge_stop_release(domain);
    }
}

static int hurries(unwedge_stop_t *phase, void *arg) {
    CHECK(unwedge_stop_hurry(arg, "a second SIGTERM") == 1 && unwedge_stop_hurry(arg, "a third") == 0);
    CHECK(unwedge_stop_wait(phase, -1) == 1);
    return ECANCELED;
}

static void hurried(void) {
    char text[8192];
    unwedge_stop_t *domain;
    unwedge_plan_t *plan;
    CHECK(unwedge_stop_new("hurried", NULL, NULL, NULL, &domain) == 0);
    CHECK(unwedge_plan_new(3600 * SECOND, &plan) == 0);
    CHECK(unwedge_plan_phase(plan, "slow", 3600 * SECOND, hurries, domain, NULL) == 0);
    CHECK(unwedge_plan_phase(plan, "next", 3600 * SECOND, never, NULL, NULL) == 0);
    CHECK(unwedge_stop_is_hurried(domain) == 0);
    shut_down(domain, plan, text, sizeof text);
    CHECK(unwedge_stop_is_hurried(domain) == 1);
    CHECK(strstr(text, "phase next: not begun") != NULL);
    unwedge_stop_release(domain);
}

static void generations(void) {
    unwedge_stop_t *first, *second;
    uint64_t before = 0, after = 0;
    CHECK(unwedge_stop_new("mds.a", NULL, NULL, NULL, &first) == 0 && unwedge_stop_new("mds.a", NULL, NULL, NULL, &second) == 0);
    CHECK(unwedge_stop_generation(first, &before) == 0 && unwedge_stop_generation(second, &after) == 0 && before < after);
    unwedge_stop_release(first);
    unwedge_stop_release(second);
}

/* A step without which going on would do harm: the process ends, with a report. */
static int is_late(unwedge_stop_t *phase, void *arg) {
    (void)phase, (void)arg;
    while (pause() == -1) {}
    return 0;
}
static void aborts(void) {
    int status = 0, ends[2];
    char text[65536] = "";
    size_t len = 0;
    ssize_t got;
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        unwedge_stop_t *domain;
        unwedge_plan_t *plan;
        const unwedge_step_t step = {.name = "fence", .limit = SECOND / 100, .run = is_late, .flags = UNWEDGE_STEP_OR_ABORT};
        dup2(ends[1], 2);
        close(ends[0]);
        CHECK(unwedge_stop_new("aborts", NULL, NULL, NULL, &domain) == 0);
        CHECK(unwedge_plan_new(600 * SECOND, &plan) == 0 && unwedge_plan_step(plan, &step) == 0);
        unwedge_stop_shutdown(domain, plan, NULL, NULL, NULL);
        _exit(1);
    }
    close(ends[1]);
    while ((got = read(ends[0], text + len, sizeof text - 1 - len)) > 0) len += (size_t)got;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(text, "fence") != NULL);
    close(ends[0]);
}

static atomic_int told, told_freed;
static void tell(void *arg, const char *inversion) {
    CHECK(arg == &told && strstr(inversion, "first_lock") && strstr(inversion, "second_lock") && !strchr(inversion, '\n'));
    told++;
}
static void told_free(void *arg) {
    CHECK(arg == &told);
    told_freed++;
}

static void inversions(void) {
    unwedge_monitor_t *first, *second;
    unwedge_stop_t *domain;
    unwedge_report_t *report;
    char text[8192];
    const int code = unwedge_on_inversion(tell, &told, told_free);
    CHECK(code == 0 || code == -ENOTSUP);
    CHECK(unwedge_stop_new("order", NULL, NULL, NULL, &domain) == 0);
    CHECK(unwedge_monitor_new(domain, "first_lock", &ops, NULL, &first) == 0 && unwedge_monitor_new(domain, "second_lock", &ops, NULL, &second) == 0);
    for (int round = 0; round < 4; round++) {
        unwedge_monitor_t *outer = round % 2 ? second : first, *inner = round % 2 ? first : second;
        CHECK(unwedge_monitor_lock(outer, -1) == 0 && unwedge_monitor_lock(inner, -1) == 0);
        CHECK(unwedge_monitor_unlock(inner) == 0 && unwedge_monitor_unlock(outer) == 0);
    }
    CHECK(unwedge_stop_report(domain, &report) == 0);
    CHECK(unwedge_report_write(report, UNWEDGE_TEXT, text, sizeof text) < (int)sizeof text);
    if (code == 0) {
        CHECK(told == 1 && unwedge_report_inversions(report) == 1 && strstr(text, "first_lock"));
        CHECK(!told_freed && unwedge_on_inversion(NULL, NULL, NULL) == 0 && told_freed == 1);
    } else {
        CHECK(told == 0 && told_freed == 0 && unwedge_report_inversions(report) == 0);
    }
    printf("steps: the order of locks is %swatched\n", code == 0 ? "" : "not ");
    unwedge_report_release(report);
    unwedge_monitor_release(first);
    unwedge_monitor_release(second);
    unwedge_stop_release(domain);
}

int main(void) {
    alarm(100);
    aborts(); /* first: it forks */
    CHECK(unwedge_stop_new("steps", NULL, NULL, NULL, &stop) == 0);
    CHECK(unwedge_monitor_new(stop, "cache", &ops, NULL, &cache) == 0 && unwedge_monitor_new(stop, "table", &ops, NULL, &table) == 0);
    steps();
    held_by_the_stopper();
    kept_by_the_plan();
    hurried();
    generations();
    inversions();
    unwedge_monitor_release(cache);
    unwedge_monitor_release(table);
    unwedge_stop_release(stop);
    puts("steps: all as it should be");
    return 0;
}
