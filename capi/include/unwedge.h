/*
 * unwedge: locks, waits and metadata I/O that always stop, for C. C++ programs include unwedge.hpp, which is over this.
 *
 * Made by cbindgen from the comments in capi/src; not to be edited.
 *
 * Results. A function gives 0 or more, or the negative of an errno, which means here:
 *
 *     -EINVAL            an argument is wrong; nothing was done
 *     -ECANCELED         a stop ended it, and your lock is NOT held
 *     -ETIMEDOUT         the time was up, and your lock is held
 *     -EBUSY             another call has this completion
 *     -ENOLCK            a callback could not take your lock again
 *     -ENOTRECOVERABLE   unwedge has panicked: a bug; unwedge_set_log tells what it said
 *
 * and what a function says of others. What an operation came to (a read's errno) is a result of its own, apart from what became of the wait for it.
 *
 * Handles. Each pointer to one of the opaque types is a handle with a count. One that a function gives you is yours: release it, from any thread and at any
 * time, also while a call with it goes on in another thread: what waits, calls back or wakes somebody has a count of its own, and so has who holds a monitor. One
 * that a callback is given is lent for the call: count it (.._ref) to keep it. Releasing NULL does nothing; a NULL handle, or one of another kind, is -EINVAL.
 *
 * Pointers. Strings end with a NUL. No function keeps a pointer to memory of yours when it has returned: strings, names and data are copied, results are
 * written before it returns. The `arg` of a callback is passed on and never looked at: what it points to is yours, for as long as the callback may come.
 *
 * Callbacks come from any thread. They must not unwind: no C++ exception, no longjmp, no pthread_exit leaves them.
 *
 * Threads. Any thread may call, also one that a C or C++ library has started. No function is a cancellation point: a thread that is cancelled (pthread_cancel)
 * in a call ends it first. (Asynchronous cancellation is not for calls of this library.) After a fork the child has none of the threads: there stop domains,
 * condition variables and completions can be made and used, and I/O gives -ECHILD. The library stays loaded after a dlclose.
 *
 * Times are in nanoseconds; a timeout that is negative is no timeout.
 */

#ifndef UNWEDGE_H
#define UNWEDGE_H

#include <stddef.h>
#include <stdint.h>

// io_uring, and a pool of threads where the kernel refuses it.
#define UNWEDGE_AUTO 0

// io_uring or nothing.
#define UNWEDGE_URING 1

// A pool of threads.
#define UNWEDGE_POOL 2

// Nothing is logged.
#define UNWEDGE_LOG_OFF 0

// What should not have happened.
#define UNWEDGE_LOG_ERROR 1

// What a daemon's operator should know: no io_uring, what a shutdown left.
#define UNWEDGE_LOG_WARN 2

// What happens rarely.
#define UNWEDGE_LOG_INFO 3

// What happens often.
#define UNWEDGE_LOG_DEBUG 4

// All.
#define UNWEDGE_LOG_TRACE 5

// For people.
#define UNWEDGE_TEXT 0

// For programs.
#define UNWEDGE_JSON 1

// For Graphviz.
#define UNWEDGE_DOT 2

// The step runs after the request and before the domain's threads are waited for: to stop accepting, or to cancel what would keep a thread.
#define UNWEDGE_STEP_BEFORE_JOIN 1

// If the step is late, the report and where the step waits are written to standard error, and the process is aborted (SIGABRT). Where the stop was hurried
// (`unwedge_stop_hurry`) it is given up like any other.
#define UNWEDGE_STEP_OR_ABORT 2

// Who owes a completion its result.
typedef struct unwedge_completer_t unwedge_completer_t;

// A result that somebody owes.
typedef struct unwedge_completion_t unwedge_completion_t;

// A condition variable, over whatever lock its waiters hold.
typedef struct unwedge_condvar_t unwedge_condvar_t;

// An open file.
typedef struct unwedge_file_t unwedge_file_t;

// Metadata I/O of one stop domain.
typedef struct unwedge_io_t unwedge_io_t;

// A monitor: a lock, and the queue of those who want it.
typedef struct unwedge_monitor_t unwedge_monitor_t;

// A plan for a shutdown: a limit for the whole, and phases in order. A shutdown uses it up.
typedef struct unwedge_plan_t unwedge_plan_t;

// A report: who has not ended, and where it waits, at a moment.
typedef struct unwedge_report_t unwedge_report_t;

// A stop domain: what a stop is requested of, and what every wait belongs to. One for each life of a daemon.
typedef struct unwedge_stop_t unwedge_stop_t;

// How a lock of yours is taken and let go. Only looked at during the call that is given it.
//
// Give as many as the lock has: `lock` and `unlock` must be there. With `try_lock_for` or `try_lock` a stop also reaches a thread that has been
// notified and waits to have the lock again. With `lock` alone such a thread waits in the lock's queue, and sees a stop when it has got the lock, which
// it then lets go: whether that is bounded is up to who holds the lock.
typedef struct {
  // Takes the lock, and waits for it. 0 if it was taken, else an errno.
  int (*lock)(void *lock);
  // Lets the lock go.
  void (*unlock)(void *lock);
  // Takes the lock if it is free. 0 if it was taken, EBUSY if it is not free, else an errno. NULL if there is none.
  int (*try_lock)(void *lock);
  // As `try_lock`, and waits for it so long: nanoseconds. ETIMEDOUT or EBUSY if the time was up. NULL if there is none.
  int (*try_lock_for)(void *lock, int64_t nanoseconds);
  // NULL, for what a later version has.
  void *reserved[4];
} unwedge_lock_ops_t;

// What a file is, as statx(2) tells.
typedef struct {
  // Type and permissions, as `st_mode`.
  uint32_t mode;
  // Names of it.
  uint32_t links;
  // Owner.
  uint32_t uid;
  // Group.
  uint32_t gid;
  // Number in its file system.
  uint64_t ino;
  // Its file system.
  uint64_t dev;
  // Length in bytes.
  uint64_t size;
  // Blocks of 512 bytes.
  uint64_t blocks;
  // When it was read, changed, changed in its attributes and made: seconds since 1970-01-01. 0 where the file system does not keep that.
  int64_t atime;
  // See `atime`.
  int64_t mtime;
  // See `atime`.
  int64_t ctime;
  // See `atime`.
  int64_t btime;
  // Nanoseconds after that second.
  uint32_t atime_nsec;
  // See `atime_nsec`.
  uint32_t mtime_nsec;
  // See `atime_nsec`.
  uint32_t ctime_nsec;
  // See `atime_nsec`.
  uint32_t btime_nsec;
} unwedge_stat_t;

// How a monitor's lock is made, taken, let go and ended. Only looked at while a monitor is made.
typedef struct {
  // How many bytes it takes, with whatever else is to lie beside it.
  size_t size;
  // Its alignment: a power of two.
  size_t align;
  // Makes it at `place`, of which all bytes are 0. 0, or an errno: then nothing was made.
  int (*make)(void *place, void *arg);
  // Ends it. NULL if there is nothing to do.
  void (*end)(void *place);
  // Takes it if it is free. 0 if it was taken, else EBUSY: and that only while somebody holds it.
  int (*try_lock)(void *place);
  // Lets it go.
  void (*unlock)(void *place);
  // NULL, for what a later version has.
  void *reserved[4];
} unwedge_monitor_ops_t;

// What a phase's step does, within which time, and what it needs. Only looked at during the call that is given it.
typedef struct {
  // What it is called in reports.
  const char *name;
  // How long it may take: nanoseconds.
  int64_t limit;
  // What it does. See `unwedge_plan_phase`.
  int (*run)(unwedge_stop_t *phase, void *arg);
  // For `run`.
  void *arg;
  // Called once with `arg` when `run` has run or cannot come any more. NULL if there is nothing to do.
  void (*free_arg)(void *arg);
  // 0, or UNWEDGE_STEP_BEFORE_JOIN and UNWEDGE_STEP_OR_ABORT.
  int flags;
  // A monitor whose lock is taken in the phase before `run` is called, and let go when it has returned, unless `run` has done so itself. NULL if there is
  // none. Where who shuts down holds it, or a phase that was left, nobody would let it go: the phase fails at once and says so.
  const unwedge_monitor_t *holding;
  // Monitors that the step, or what it calls, takes itself: as with `holding` the phase fails at once where one of them could not be had. The array is only
  // looked at during the call; the plan keeps each monitor, and that of `holding`, until the phase is over or cannot come any more. So their locks are there
  // until then, whoever has released their handles, and `end` of `unwedge_monitor_ops_t` is not called before.
  const unwedge_monitor_t *const *not_holding;
  // How many those are.
  size_t not_holding_count;
  // NULL, for what a later version has.
  void *reserved[4];
} unwedge_step_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a completion and the completer that owes it. 0, and both handles are yours: release each.
//
// `what` is what it is called in reports: few different names, not one for each operation. `free_value` frees a value that nobody takes; NULL if values need
// none. A stop of `stop` ends the waits for it.
int unwedge_completion_new(const unwedge_stop_t *stop,
                           const char *what,
                           void (*free_value)(void *value),
                           unwedge_completion_t **completion,
                           unwedge_completer_t **completer);

// Counts the handle once more.
int unwedge_completion_ref(const unwedge_completion_t *completion);

// Lets the handle go; NULL does nothing. With the last count nobody wants the result any more: a value that comes later is freed, and what it lent
// (`unwedge_completion_bytes`) is gone. What the kernel or a client library still does goes on in memory of its own.
void unwedge_completion_release(unwedge_completion_t *completion);

// Whether the result is there: 1 or 0. -EBUSY while another call has the completion.
int unwedge_completion_is_complete(const unwedge_completion_t *completion);

// Waits for the result. `stop` is whose stop ends the wait, a phase's for example; NULL is the completion's own domain. `timeout` is in nanoseconds;
// negative is for ever.
//
// | returned | what happened | `*result` |
// |---|---|---|
// | 0 | the result is there, and stays: what it is, see there | what was given; -EOWNERDEAD if the completer was let go; the negative of an errno if I/O failed |
// | -ETIMEDOUT | the time was up; wait again, or release it | as before |
// | -ECANCELED | a stop ended the wait, also if the result is there; but with NULL for `stop` what an earlier wait has given is given again | as before |
// | -EBUSY | another call waits for it | as before |
int unwedge_completion_wait(const unwedge_completion_t *completion,
                            const unwedge_stop_t *stop,
                            int64_t timeout,
                            int64_t *result);

// As `unwedge_completion_wait`, by who holds a lock: it is let go meanwhile and taken again, as in `unwedge_condvar_wait`. `stop` must not be NULL.
//
// After 0 and -ETIMEDOUT the lock is held; after -ECANCELED, -EBUSY and -ENOLCK it is **not**; after -EINVAL nothing was done. If a stop comes while the lock is
// taken again the result stays with the completion.
int unwedge_completion_wait_unlocked(const unwedge_completion_t *completion,
                                     const unwedge_stop_t *stop,
                                     const unwedge_lock_ops_t *ops,
                                     void *lock,
                                     int64_t timeout,
                                     int64_t *result);

// Has `callback(arg, status, result, completion)` called with the result, on the callback thread of `stop`: never within `unwedge_completer_complete` or
// `unwedge_stop_request`, whose caller may hold a lock.
//
// `status` is 0, or -ECANCELED if a stop of `stop` or of the completion's own domain came first. `completion` is lent for the call: in it
// `unwedge_completion_take`, `_bytes`, `_file` and `_stat` give what came. It is called once, also if the handle was released before. 0 if it will be called.
int unwedge_completion_on_complete(const unwedge_completion_t *completion,
                                   const unwedge_stop_t *stop,
                                   void (*callback)(void *arg,
                                                    int status,
                                                    int64_t result,
                                                    unwedge_completion_t *completion),
                                   void *arg);

// Moves the value out, once the result is there: it is yours then, and is not freed. -EALREADY if it was taken before, -EAGAIN if there is no result yet,
// -ENODATA if the result has no value.
int unwedge_completion_take(const unwedge_completion_t *completion,
                            void **value);

// Gives the result and, with it, a value: `result` is whatever number you like (0 or more for success, the negative of an errno otherwise, by convention).
//
// 1 if somebody will have it; 0 if nobody wants it any more: then the value was freed. -EALREADY if it was completed before: then the value is still yours.
// Never blocks and calls nothing back but `free_value`; from any thread and under any lock. The handle still has to be released.
int unwedge_completer_complete(const unwedge_completer_t *completer,
                               int64_t result,
                               void *value);

// Whether somebody still wants the result: 1 or 0.
int unwedge_completer_is_wanted(const unwedge_completer_t *completer);

// Has `hook(arg)` called, on the domain's callback thread, when nobody waits for an external operation any more: its completion was released, or the stop of
// its domain was requested. At most once, and not if the operation ends first. `free_arg(arg)`, if it is not NULL, is called once when it cannot
// come any more; if this fails with -EINVAL or -EALREADY it is not. A second hook takes the place of the first, whose argument is freed within this call.
// -EINVAL if it is not an external operation's (`unwedge_io_external`); -EAGAIN if the callback thread cannot be started: then a first hook stays.
int unwedge_completer_on_cancel(const unwedge_completer_t *completer,
                                void (*hook)(void *arg),
                                void *arg,
                                void (*free_arg)(void *arg));

// Counts the handle once more.
int unwedge_completer_ref(const unwedge_completer_t *completer);

// Lets the handle go; NULL does nothing. With the last count of one that has not completed, its completion's result is -EOWNERDEAD.
void unwedge_completer_release(unwedge_completer_t *completer);

// Makes a condition variable. 0, and the handle is yours: release it.
int unwedge_condvar_new(unwedge_condvar_t **condvar);

// Counts the handle once more: it is released as often as it was made or counted.
int unwedge_condvar_ref(const unwedge_condvar_t *condvar);

// Lets the handle go; NULL does nothing. Who waits on it meanwhile is waited on to its end.
void unwedge_condvar_release(unwedge_condvar_t *condvar);

// Wakes the thread that has waited longest. 1 if there was one, 0 if not.
int unwedge_condvar_notify_one(const unwedge_condvar_t *condvar);

// Wakes everybody who waits now. How many that were.
int unwedge_condvar_notify_all(const unwedge_condvar_t *condvar);

// Where the number of calls that wait on it stands: while it is 0 a notification wakes nobody, and whoever has changed what is waited for may leave it out,
// which saves the call. Read it atomically (C++: `__atomic_load_n(*waits, __ATOMIC_RELAXED)`), after the change under the lock, and do not write to it. It is
// there for as long as the handle.
int unwedge_condvar_waits(const unwedge_condvar_t *condvar,
                          const size_t **waits);

// Lets your lock go, waits for a notification and takes the lock again. The caller holds `lock`, by whose `ops` it is let go and taken.
//
// `timeout` is in nanoseconds; negative is for ever. As with every condition variable it may return 0 without a notification: wait in a loop. A change of
// what is waited for is made under the lock.
//
// | result | what happened | the lock |
// |---|---|---|
// | 0 | notified | held |
// | -ETIMEDOUT | the time was up | held |
// | -ECANCELED | a stop of `stop` | **not held**, and not to be taken for what follows: return |
// | -ENOLCK | a callback of `ops` failed | not held |
// | -EINVAL | an argument is wrong; nothing was done | held |
int unwedge_condvar_wait(const unwedge_condvar_t *condvar,
                         const unwedge_stop_t *stop,
                         const unwedge_lock_ops_t *ops,
                         void *lock,
                         int64_t timeout);

// Has `callback(arg, inversion)` told of each pair of orders in which locks are taken, or waits begin, that contradict each other: once each, as soon as it is
// found, though it did not deadlock this time. The text, on one line and lent for the call, names both orders. It comes from the thread that found it, before that
// takes the lock: it should write and return. NULL: nobody is told, and nothing is printed.
//
// Of the whole process: the last call counts. What is seen are monitors, completions whose completer is a known thread's, and ends of threads; not a
// lock of your own under a condition variable. `free_arg(arg)`, if it is not NULL, is called once when the callback cannot come any more: within this where
// that is NULL. If this fails it is not called.
//
// 0; -ENOTSUP if nothing is watched: a release build without the feature `lockdep` (`capi/install.sh --lockdep`), which costs some time at each lock and wait.
int unwedge_on_inversion(void (*callback)(void *arg, const char *inversion),
                         void *arg,
                         void (*free_arg)(void *arg));

// Makes the I/O of a domain. 0, and the handle is yours: release it. `backend` is UNWEDGE_AUTO, UNWEDGE_URING or UNWEDGE_POOL; the environment variable
// `UNWEDGE_IO` (`uring`, `pool`) overrides the first.
//
// After the stop of the domain every operation is refused; what the kernel still has at the deadline of a shutdown is leaked and counted, never freed. In a
// child of fork the results are -ECHILD.
int unwedge_io_new(const unwedge_stop_t *stop,
                   int backend,
                   unwedge_io_t **io);

// The same backend for another domain: for a phase of a shutdown, or a child. 0, and the handle is yours.
int unwedge_io_with(const unwedge_io_t *io, const unwedge_stop_t *stop, unwedge_io_t **other);

// Counts the handle once more.
int unwedge_io_ref(const unwedge_io_t *io);

// Lets the handle go; NULL does nothing. What is in flight goes on.
void unwedge_io_release(unwedge_io_t *io);

// Counts the handle once more.
int unwedge_file_ref(const unwedge_file_t *file);

// Lets the handle go; NULL does nothing. With the last count, and the last operation on it, the file is closed, by the backend: the caller is not held up.
void unwedge_file_release(unwedge_file_t *file);

// Opens a file: `flags` and `mode` are those of open(2), of which O_CREAT, O_EXCL, O_TRUNC, O_DIRECT, O_DSYNC, O_DIRECTORY, O_NOFOLLOW and O_NOATIME are known;
// O_CLOEXEC is always set.
//
// 0 if it was begun: the completion is yours, its result 0 or the negative of an errno, and `unwedge_completion_file` gives the file.
int unwedge_io_open(const unwedge_io_t *io,
                    const char *name,
                    int flags,
                    uint32_t mode,
                    unwedge_completion_t **completion);

// Reads at most `len` bytes from `offset` on. 0 if it was begun: the completion is yours, its result how many were read (0 at the end of the file) or the
// negative of an errno, and `unwedge_completion_bytes` lends them.
int unwedge_io_read(const unwedge_io_t *io,
                    const unwedge_file_t *file,
                    size_t len,
                    uint64_t offset,
                    unwedge_completion_t **completion);

// Writes `len` bytes to `offset` and on: all of them. `data` is copied within the call. 0 if it was begun: the completion is yours, its result `len` or the
// negative of an errno.
int unwedge_io_write(const unwedge_io_t *io,
                     const unwedge_file_t *file,
                     const void *data,
                     size_t len,
                     uint64_t offset,
                     unwedge_completion_t **completion);

// Makes what was written to the file durable; `data_only` leaves attributes out that are not needed to read it back. 0 if it was begun: the completion is
// yours, its result 0 or the negative of an errno.
int unwedge_io_sync(const unwedge_io_t *io,
                    const unwedge_file_t *file,
                    int data_only,
                    unwedge_completion_t **completion);

// Asks what is at a path; symbolic links are followed. 0 if it was begun: the completion is yours, its result 0 or the negative of an errno, and
// `unwedge_completion_stat` gives what it is.
int unwedge_io_stat(const unwedge_io_t *io,
                    const char *name,
                    unwedge_completion_t **completion);

// An operation that foreign code does, a client library for example: as `unwedge_completion_new`, and it counts as in flight until its completer is used or
// released, also at a shutdown. `unwedge_completer_on_cancel` tells the foreign code that nobody waits any more.
int unwedge_io_external(const unwedge_io_t *io,
                        const char *what,
                        void (*free_value)(void *value),
                        unwedge_completion_t **completion,
                        unwedge_completer_t **completer);

// Lends the bytes of a read that has succeeded, until the completion's last count is released. -EAGAIN if there is no result yet, -ENODATA if the result is no
// bytes.
int unwedge_completion_bytes(const unwedge_completion_t *completion,
                             const void **data,
                             size_t *len);

// Gives the file of an open that has succeeded: a handle of yours, to be released. -EAGAIN if there is no result yet, -ENODATA if the result is no file.
int unwedge_completion_file(const unwedge_completion_t *completion,
                            unwedge_file_t **file);

// Copies what a stat has found. -EAGAIN if there is no result yet, -ENODATA if the result is none.
int unwedge_completion_stat(const unwedge_completion_t *completion, unwedge_stat_t *stat);

// Writes what the I/O has done so far as JSON to `place`, as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result.
//
// `{"backend":"uring","pool_threads":0,"in_flight":0,"too_late":0,"timed_out":0,"leaked":{"operations":0,"bytes":0,"threads":0},"operations":{"open":{"done":1,
// "prompt":1,"failed":0,"in_flight":0,"total_ns":9000,"slowest_ns":9000,"p50_ns":8192,"p99_ns":8192},..}}`; a quantile is null before the first operation.
int unwedge_io_metrics(const unwedge_io_t *io,
                       char *place,
                       size_t size);

// Has what happens in the library, up to `level` (UNWEDGE_LOG_ERROR to UNWEDGE_LOG_TRACE), told by `callback(arg, level, message)`: one line without its end,
// lent for the call. From any thread, also one that holds locks: it should write and return. UNWEDGE_LOG_OFF, with or without a callback, ends it.
//
// Of the whole process: the last call counts. An event that is just being told may still reach the callback before.
int unwedge_set_log(int level,
                    void (*callback)(void *arg, int level, const char *message),
                    void *arg);

// Makes a monitor of the domain `stop`. 0, and the handle is yours: release it. `name` is what it is called in reports: few different names. `arg` is for
// `ops->make`, which is called within this.
int unwedge_monitor_new(const unwedge_stop_t *stop,
                        const char *name,
                        const unwedge_monitor_ops_t *ops,
                        void *arg,
                        unwedge_monitor_t **monitor);

// Counts the handle once more.
int unwedge_monitor_ref(const unwedge_monitor_t *monitor);

// Lets the handle go; NULL does nothing. With the last count the lock is ended; who waits for it, and who holds it until it is let go, has a count too.
void unwedge_monitor_release(unwedge_monitor_t *monitor);

// Where the lock lies: what `ops->make` was given. NULL if the handle is not a monitor's.
void *unwedge_monitor_place(const unwedge_monitor_t *monitor);

// Takes the lock, and waits for it for `timeout` nanoseconds (negative: for ever) and until a stop of its domain. 0 if it was taken; -ECANCELED, -ETIMEDOUT;
// -EDEADLK if this thread holds it.
int unwedge_monitor_lock(const unwedge_monitor_t *monitor,
                         int64_t timeout);

// As `unwedge_monitor_lock`, for a domain other than the monitor's own: a phase of a shutdown. A stop of that one ends the wait, and those with the lock.
int unwedge_monitor_lock_in(const unwedge_monitor_t *monitor,
                            const unwedge_stop_t *stop);

// Lets the lock go. -EPERM if this thread does not hold it.
int unwedge_monitor_unlock(const unwedge_monitor_t *monitor);

// Waits for a notification, by who holds the lock: it is let go meanwhile. 0 and -ETIMEDOUT with the lock held; -ECANCELED without; -EPERM if this thread does not
// hold it.
int unwedge_monitor_wait(const unwedge_monitor_t *monitor,
                         const unwedge_condvar_t *condvar,
                         int64_t timeout);

// Waits for a completion, by who holds the lock: it is let go meanwhile. 0 with the lock held, and `*result` as `unwedge_completion_wait` gives it; -ECANCELED
// without the lock; -EBUSY and -EPERM with nothing done. What an earlier wait has given is given again, also after a stop.
int unwedge_monitor_wait_for(const unwedge_monitor_t *monitor,
                             const unwedge_completion_t *completion,
                             int64_t *result);

// Makes a plan for a shutdown that returns within so many nanoseconds, whoever is left then. 0, and the handle is yours: release it, also after the shutdown
// that has used it.
int unwedge_plan_new(int64_t within,
                     unwedge_plan_t **plan);

// Lets the plan go; NULL does nothing.
void unwedge_plan_release(unwedge_plan_t *plan);

// How long operations that the kernel has not given back are waited for, in nanoseconds, when all else has ended.
int unwedge_plan_drain(unwedge_plan_t *plan, int64_t limit);

// Adds a phase: `step(phase, arg)` runs after the request, when the domain's threads have ended or their time is up, on a thread of its own and within
// `limit` nanoseconds.
//
// `phase` is a stop domain of its own, whose stop comes when the limit is over; it is lent for the call. In it locks are taken, waits made and I/O done
// after the stop of the domain itself. The step gives 0, or an errno that the report tells. Without a shutdown it is not
// called. `free_arg(arg)`, if it is not NULL, is called once when the step has run or cannot come any more; if this fails it is not. `unwedge_plan_step` adds one
// that says more about itself.
int unwedge_plan_phase(unwedge_plan_t *plan,
                       const char *name,
                       int64_t limit,
                       int (*step)(unwedge_stop_t *phase, void *arg),
                       void *arg,
                       void (*free_arg)(void *arg));

// Counts the handle once more.
int unwedge_report_ref(const unwedge_report_t *report);

// Lets the handle go; NULL does nothing.
void unwedge_report_release(unwedge_report_t *report);

// Whether everything has ended: 1 or 0.
int unwedge_report_is_clean(const unwedge_report_t *report);

// How many threads and tasks have not ended.
int unwedge_report_members(const unwedge_report_t *report);

// How many inversions of the order of locks and waits this process has come upon so far, each of which the text tells: 0 where they are not watched
// (`unwedge_on_inversion`).
int unwedge_report_inversions(const unwedge_report_t *report);

// Writes the report to `place` as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result. `form` is
// UNWEDGE_TEXT, UNWEDGE_JSON or UNWEDGE_DOT.
int unwedge_report_write(const unwedge_report_t *report,
                         int form,
                         char *place,
                         size_t size);

// Writes the report of the whole process, all its domains, to a descriptor: for a signal handler, a crash handler and a panic hook. It allocates nothing, takes
// no lock and is async-signal-safe, whoever is stuck.
//
// 0 if all of it was written, otherwise the negative of the errno of write(2); of a descriptor that blocks it waits.
// `fd` is open, or the negative of an errno comes.
int unwedge_report_fd(int fd);

// Adds a phase, as `unwedge_plan_phase` does, whose step says more about itself. If this fails `free_arg` is not called.
//
// Those with UNWEDGE_STEP_BEFORE_JOIN run in their order, then the domain's threads are waited for, then the others run in theirs.
int unwedge_plan_step(unwedge_plan_t *plan,
                      const unwedge_step_t *step);

// Makes a stop domain. 0, and the handle is yours: release it. When the last count of it is released its stop is requested.
//
// `on_thread_start(arg, name)`, if it is not NULL, runs first on every thread that the domain or a child of it starts. `free_arg(arg)`, if it is not NULL, is
// called once when it cannot come any more: within this where `on_thread_start` is NULL. If this fails it is not called.
int unwedge_stop_new(const char *name,
                     void (*on_thread_start)(void *arg, const char *name),
                     void *arg,
                     void (*free_arg)(void *arg),
                     unwedge_stop_t **stop);

// Makes a part of a domain, with a stop of its own. A stop of `parent` reaches it; a child of a stopped domain is born stopped.
int unwedge_stop_child(const unwedge_stop_t *parent,
                       const char *name,
                       unwedge_stop_t **stop);

// Counts the handle once more.
int unwedge_stop_ref(const unwedge_stop_t *stop);

// Lets the handle go; NULL does nothing. With the last count the stop is requested.
void unwedge_stop_release(unwedge_stop_t *stop);

// Requests the stop: every wait of this domain and its children ends, now and from now on. 1 if this was the first request, 0 if not.
//
// It never blocks, calls nothing back, and may be called any number of times, from any thread and under any lock; but not from a signal handler.
int unwedge_stop_request(const unwedge_stop_t *stop,
                         const char *reason);

// Requests the stop, if nobody has, and takes all time away from the shutdowns of this domain and its children, those that run and those to come: what an
// operator's second signal means. 1 if this was the first hurry, 0 if not.
//
// Threads are no longer waited for, a phase that runs is stopped, one that has not begun is skipped, I/O is not drained; what is on its way out is given a tenth
// of a second. `unwedge_stop_request` never hurries, however often it is called. It may be called wherever that may.
int unwedge_stop_hurry(const unwedge_stop_t *stop,
                       const char *reason);

// Whether the stop was hurried: 1 or 0.
int unwedge_stop_is_hurried(const unwedge_stop_t *stop);

// Which of the process's domains this is: each has a number of its own, greater than those of all that were made before. So what is left of an old life (a late
// reply, a line in a log) can be told from the new one's. 0, and the number in `*generation`.
int unwedge_stop_generation(const unwedge_stop_t *stop,
                            uint64_t *generation);

// Whether the stop was requested: 1 or 0. Cheap: one load.
int unwedge_stop_is_requested(const unwedge_stop_t *stop);

// Writes why the stop was requested to `place`, as `snprintf` would: at most `size` bytes with the NUL, and the whole length is the result. Nothing, and 0,
// before it was requested.
int unwedge_stop_reason(const unwedge_stop_t *stop,
                        char *place,
                        size_t size);

// Sleeps for so many nanoseconds (negative: for ever), but not past a stop. 1 if the stop was requested, 0 if the time was up.
int unwedge_stop_wait(const unwedge_stop_t *stop,
                      int64_t timeout);

// Starts a thread of the domain: `body(arg)`. A shutdown waits for it and names it if it is late. `name` is what it is called.
//
// 0 if it was started; otherwise the body is not called. The body ends by returning, never by `pthread_exit`, and is not to be cancelled.
int unwedge_stop_spawn(const unwedge_stop_t *stop,
                       const char *name,
                       void (*body)(void *arg),
                       void *arg);

// Stops the domain: requests the stop, waits for its threads, runs the plan's phases, closes its I/O. Never longer than the plan's limit.
//
// `plan` is used up, though its handle still has to be released; NULL is a plan without limit and phases. A caller that holds a lock gives it by `ops` and
// `lock`: the threads are waited for with it held, and it is let go before the phases. (NULL and NULL where there is none.) No deadlock comes of it: a
// wait that a stop ends never takes a lock again.
//
// 1 if everything has ended, 0 if not. In both cases the lock is let go, and if `report` is not NULL the report is yours: release it.
int unwedge_stop_shutdown(const unwedge_stop_t *stop,
                          unwedge_plan_t *plan,
                          const unwedge_lock_ops_t *ops,
                          void *lock,
                          unwedge_report_t **report);

// Who of the domain has not ended, and where it waits: to be had at any time, also while everything is stuck. 0, and the report is yours: release it.
int unwedge_stop_report(const unwedge_stop_t *stop,
                        unwedge_report_t **report);

// The library's version.
const char *unwedge_version(void);

// A text for a result: what it means here, or else what the C library says of that errno. It lives for ever.
const char *unwedge_strerror(int result);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UNWEDGE_H */
