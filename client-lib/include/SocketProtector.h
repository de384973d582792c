/*
 * SocketProtector.h - the interface of the original SocketProtector library, for daemons written for it.
 *
 * They compile and link unchanged, with -lSocketProtector, and run under either supervisor. socket_protector.h describes
 * the functions that this class stands for, and more.
 */

#ifndef SOCKET_PROTECTOR_CLASS_H
#define SOCKET_PROTECTOR_CLASS_H

#include "socket_protector.h"

#ifdef __cplusplus

/* Valid C++98, as the original is. */
class SocketProtector
{
public:
    /* Not explicit, since that of the original is not. Failure shows as is_terminated(). */
    SocketProtector(uint16_t port) : protector(socket_protector_create(port)) {}

    ~SocketProtector() { socket_protector_destroy(protector); }

    /* To be called from a signal handler. */
    void terminate() { socket_protector_terminate(protector); }

    bool is_terminated() const { return socket_protector_is_terminated(protector); }

    /* The next connection, which the caller closes; -1 when it is time to end. */
    int accept() { return socket_protector_accept(protector); }

private:
    /* Each stands for what exists once. */
    SocketProtector(const SocketProtector &);
    SocketProtector &operator=(const SocketProtector &);

    struct PrivSocketProtector *protector;
};

#endif

#endif
