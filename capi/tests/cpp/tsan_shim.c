/* What clang's ThreadSanitizer lacks. The functions that it does see do the same. */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <time.h>

/* rustc's instrumentation calls these. */
void *__tsan_memcpy(void *to, const void *from, size_t len) { return memcpy(to, from, len); }
void *__tsan_memmove(void *to, const void *from, size_t len) { return memmove(to, from, len); }
void *__tsan_memset(void *to, int with, size_t len) { return memset(to, with, len); }

/* By these the standard library takes its timed mutexes: with a deadline of a clock other than the wall's. */
static struct timespec by_the_wall(clockid_t clock, const struct timespec *at) {
    struct timespec now, wall;
    if (clock == CLOCK_REALTIME) return *at;
    clock_gettime(clock, &now);
    clock_gettime(CLOCK_REALTIME, &wall);
    wall.tv_sec += at->tv_sec - now.tv_sec;
    wall.tv_nsec += at->tv_nsec - now.tv_nsec;
    if (wall.tv_nsec < 0) wall.tv_nsec += 1000000000, --wall.tv_sec;
    if (wall.tv_nsec >= 1000000000) wall.tv_nsec -= 1000000000, ++wall.tv_sec;
    return wall;
}
int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *at) {
    const struct timespec wall = by_the_wall(clock, at);
    return pthread_mutex_timedlock(mutex, &wall);
}
int pthread_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t clock, const struct timespec *at) {
    const struct timespec wall = by_the_wall(clock, at);
    return pthread_rwlock_timedwrlock(lock, &wall);
}
int pthread_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t clock, const struct timespec *at) {
    const struct timespec wall = by_the_wall(clock, at);
    return pthread_rwlock_timedrdlock(lock, &wall);
}
