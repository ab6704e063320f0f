// Two calls that librados's C interface lacks, or has only in a form that cannot be cancelled: asynchronous reads of an object's omap header, and of one of
// its attributes. `rados_aio_getxattr` completes the caller's completion from one of its own, so `rados_aio_cancel` finds no operation for it.

#include <cstddef>
#include <new>
#include <rados/librados.hpp>

namespace {
struct Answer {
    librados::bufferlist bytes;
    int result = 0;
};

// Begins a read; the completion is one of the C interface's.
int begin(rados_ioctx_t io, const char *object, rados_completion_t completion, librados::ObjectReadOperation &read)
{
    librados::IoCtx context;
    librados::IoCtx::from_rados_ioctx_t(io, context);
    // Only lent: its destructor, which would release the caller's completion, is not run.
    alignas(librados::AioCompletion) std::byte room[sizeof(librados::AioCompletion)];
    auto *lent = new (room) librados::AioCompletion(static_cast<librados::AioCompletionImpl *>(completion));
    return context.aio_operate(object, lent, &read, nullptr);
}
}

extern "C" {

// Where an answer is to be put. Never null.
void *uw_rados_answer_new() { return new Answer; }

// Begins to read a header. The answer has to live until the completion is complete.
int uw_rados_aio_omap_header(rados_ioctx_t io, const char *object, rados_completion_t completion, void *answer)
{
    auto *into = static_cast<Answer *>(answer);
    librados::ObjectReadOperation read;
    read.omap_get_header(&into->bytes, &into->result);
    return begin(io, object, completion, read);
}

// The same of an attribute. Its name is copied.
int uw_rados_aio_getxattr(rados_ioctx_t io, const char *object, rados_completion_t completion, const char *name, void *answer)
{
    auto *into = static_cast<Answer *>(answer);
    librados::ObjectReadOperation read;
    read.getxattr(name, &into->bytes, &into->result);
    return begin(io, object, completion, read);
}

// What was read, once it is complete.
const char *uw_rados_answer_bytes(void *answer, size_t *length)
{
    auto *read = static_cast<Answer *>(answer);
    *length = read->bytes.length();
    return read->bytes.c_str();
}

void uw_rados_answer_free(void *answer) { delete static_cast<Answer *>(answer); }

}
