/* What rustc's instrumentation calls and gcc's ThreadSanitizer does not have: the intercepted functions do the same. */
#include <string.h>
void *__tsan_memcpy(void *to, const void *from, size_t len) { return memcpy(to, from, len); }
void *__tsan_memmove(void *to, const void *from, size_t len) { return memmove(to, from, len); }
void *__tsan_memset(void *to, int with, size_t len) { return memset(to, with, len); }
