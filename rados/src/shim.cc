// The one call that librados's C interface lacks: an asynchronous read of an object's omap header.

#include <cstddef>
#include <new>
#include <rados/librados.hpp>

namespace {
struct Header {
    librados::bufferlist bytes;
    int result = 0;
};
}

extern "C" {

// Where a header is to be put. Never null.
void *uw_rados_header_new() { return new Header; }

// Begins the read; the completion is one of the C interface's. The header has to live until that is complete.
int uw_rados_aio_omap_header(rados_ioctx_t io, const char *object, rados_completion_t completion, void *header)
{
    auto *into = static_cast<Header *>(header);
    librados::IoCtx context;
    librados::IoCtx::from_rados_ioctx_t(io, context);
    librados::ObjectReadOperation read;
    read.omap_get_header(&into->bytes, &into->result);
    // Only lent: its destructor, which would release the caller's completion, is not run.
    alignas(librados::AioCompletion) std::byte room[sizeof(librados::AioCompletion)];
    auto *lent = new (room) librados::AioCompletion(static_cast<librados::AioCompletionImpl *>(completion));
    return context.aio_operate(object, lent, &read, nullptr);
}

// The header's bytes, once the read is complete.
const char *uw_rados_header_bytes(void *header, size_t *length)
{
    auto *read = static_cast<Header *>(header);
    *length = read->bytes.length();
    return read->bytes.c_str();
}

void uw_rados_header_free(void *header) { delete static_cast<Header *>(header); }

}
