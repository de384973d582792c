/*
 * socket_protector.h - a daemon's side of socket-protector, for C and C++.
 *
 * socket-protector binds the ports, starts a daemon, and on a reload starts its successor before it lets the old one
 * drain. A daemon takes its clients from here, the same way whether it was given the listening sockets or gets each
 * connection passed:
 *
 *     struct PrivSocketProtector *p = socket_protector_open();
 *     int fd;
 *     while ((fd = socket_protector_accept(p)) != -1)
 *         serve(fd);                      // and close it
 *     socket_protector_destroy(p);        // drained: the next generation serves
 *
 * Compile and link with `pkg-config --cflags --libs socket_protector`.
 *
 * ERRORS. What fails returns -1 (or NULL, as told) and sets errno; what succeeds leaves no meaning in errno. Every
 * function takes NULL for `p` and then fails with EINVAL. ENOTRECOVERABLE, from any function, tells of a defect in this
 * library, reported to syslog(3); nothing but socket_protector_destroy is to be done with that `p` afterwards.
 *
 * OWNERSHIP. A descriptor that an accept function returns is the caller's, who closes it, or gives it back with
 * socket_protector_give_back. Descriptors and strings that the other functions return belong to `p`: they are not to be
 * closed or freed, and are gone after socket_protector_destroy. Strings and buffers that are passed in stay the
 * caller's.
 *
 * THREADS. All functions may be called from several threads at a time with the same `p`, except that
 * socket_protector_destroy must be the last, and socket_protector_open and _create should be called before there are
 * other threads (see there). Only socket_protector_terminate may be called in a signal handler.
 *
 * FORK. After a fork(2) the child may go on to use the `p` of its parent, also to accept, at the same time as its parent
 * and its siblings. The connections that the library had read and not yet returned stay the parent's, and are closed in
 * the child before fork returns. For that:
 *   - Do not fork while another thread is inside a function of the same `p`. The child could hold a lock that nobody
 *     opens, and a connection that was just being received, which its client would see end only with the child. A child
 *     that does nothing but exec is safe at any time.
 *   - Use fork(2) of the C library. What makes a process without it (clone(2), _Fork(3), vfork(2)) skips the closing.
 *   - There is room for 256 such connections, of all `p` of the process; one `p` has never more than 16. What is beyond
 *     is not closed in the child.
 *   - An epoll instance of the parent is the parent's: make a new one, and ask for socket_protector_fd again.
 */

#ifndef SOCKET_PROTECTOR_H
#define SOCKET_PROTECTOR_H

#include <stddef.h>
#include <stdint.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

/* The version of this header; socket_protector_version() is that of the library. */
#define SOCKET_PROTECTOR_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* Where connections come from. */
struct PrivSocketProtector;
typedef struct PrivSocketProtector PrivSocketProtector;

/* ---------------------------------------------------------------------------------------------------------------------
 * The functions of the original SocketProtector library
 */

/*
 * Takes what the supervisor passed to this process, as socket_protector_open does. The port is then of no importance.
 *
 * If there is no supervisor of ours, connects to the original SocketProtector's, by the abstract name of that port. It
 * is trusted only if it belongs to root or to the user of this process.
 *
 * NULL on failure, with the reason in syslog(3) and in errno: ECONNREFUSED, neither supervisor is there; EACCES, the
 * name belongs to a process of another user; EBUSY, what our supervisor passed was taken already; else see
 * socket_protector_open.
 */
struct PrivSocketProtector *socket_protector_create(uint16_t port);

/* Closes what belongs to `p` and frees it. NULL is nothing to do. Connections that were accepted are not touched. */
void socket_protector_destroy(struct PrivSocketProtector *p);

/*
 * Ends the accepting of this process: an accept that waits, in whichever thread, returns -1 with ECANCELED, and so does
 * every later one. But a connection that is already there when the waiting ends is returned first, and so are those
 * that the library has read together with others, which nobody else could serve.
 *
 * Async-signal-safe. Leaves errno as it is. NULL is nothing to do.
 */
void socket_protector_terminate(struct PrivSocketProtector *p);

/*
 * Whether socket_protector_terminate was called and no connection is left that only this process can serve. The end of
 * the supervisor, or a drain, does not count. True for NULL.
 */
bool socket_protector_is_terminated(struct PrivSocketProtector *p);

/*
 * Waits for the next connection and returns its descriptor: a connected socket, close-on-exec, in blocking mode. The
 * caller closes it. A signal does not end the waiting.
 *
 * The first call tells the supervisor that the daemon is ready (see socket_protector_ready).
 *
 * The state of a connection that was given back is discarded; socket_protector_accept_state returns it.
 *
 * -1 with errno:
 *   ESHUTDOWN     it is time to drain and nothing is left to take: finish what is in progress, and exit
 *   ECANCELED     socket_protector_terminate was called
 *   EAGAIN        there is none now (only after socket_protector_set_nonblocking)
 *   EMFILE, ENFILE, ENOBUFS, ENOMEM
 *                 not enough descriptors or memory. Connections wait where they are; go on when some were closed
 *   ECONNABORTED  connections were lost: another thread took the last descriptors, or another process with the same
 *                 channel read from it, in the moment in which they were received. One thread by itself loses none
 *   EBADMSG       the supervisor sent a record that is none; it was skipped, and accepting may go on
 *   ETIMEDOUT     the first call could not tell that the daemon is ready: the supervisor did not read for ten seconds.
 *                 So long it waits, non-blocking or not; accepting may go on, and then tells it
 *   EINVAL        p is NULL, or the listener of a standalone p does not listen any more
 */
int socket_protector_accept(struct PrivSocketProtector *p);

/* ---------------------------------------------------------------------------------------------------------------------
 * Where connections come from
 */

/*
 * Takes what the supervisor passed to this process, once. To be called at the start of main, before there are other
 * threads: it then also removes the variables from the environment, so that the daemon's own children do not mistake
 * them for theirs. The supervisor's parent-death signal is switched off: the end of accepting replaces it.
 *
 * Listening sockets that were passed are made non-blocking, which all processes share that have them.
 *
 * NULL on failure, with the reason in syslog(3), except for ENOENT, and in errno:
 *   ENOENT        there is no supervisor
 *   EBUSY         what it passed was taken already: by an earlier socket_protector_open or _create of this process, or of
 *                 the one that it was forked from, be it destroyed or not
 *   EINVAL        a variable is missing or says what cannot be
 *   EPERM         what was passed is meant for another process: a wrapper has to exec the daemon
 *   EBADF, ENOTSOCK, EPROTOTYPE, ...
 *                 a descriptor is not what the environment says
 *   EMFILE, ENFILE, ENOMEM
 *                 not enough descriptors or memory
 */
struct PrivSocketProtector *socket_protector_open(void);

/*
 * Serves from a listening stream socket of the daemon's own, for the times when no supervisor is there. `listener`
 * stays the caller's, who may close it at once: the library uses a duplicate. It is made non-blocking.
 *
 * NULL on failure, with the reason in syslog(3) and in errno: EBADF, ENOTSOCK; EPROTOTYPE, it is not a stream socket;
 * EINVAL, it does not listen; EMFILE, ENFILE, ENOMEM.
 */
struct PrivSocketProtector *socket_protector_standalone(int listener);

/*
 * socket_protector_accept that also tells to which listener the client came, by its index, in the order of the
 * supervisor's command line. `listener` may be NULL. It is written to only with a connection.
 */
int socket_protector_accept_from(struct PrivSocketProtector *p, size_t *listener);

/* ---------------------------------------------------------------------------------------------------------------------
 * Connections that outlive a generation: given back by one with the daemon's own state, and taken on by the next.
 * All generations then accept by socket_protector_accept_state. docs/give-back.md tells what belongs into a state.
 */

/* The most state that goes with a connection, in bytes. A buffer of this size has room for every one. */
#define SOCKET_PROTECTOR_MAX_STATE 65536

/* The length for a connection that was never given back: it has no state, not even an empty one. */
#define SOCKET_PROTECTOR_NO_STATE ((size_t)-1)

/*
 * socket_protector_accept_from that also copies the state of the connection to `state`, where there is room for `size`
 * bytes, and its length to `*length`: 0 for an empty one, SOCKET_PROTECTOR_NO_STATE for a new connection. `state` may be
 * NULL if `size` is 0; `listener` may be NULL, `length` may not.
 *
 * -1 with errno as socket_protector_accept, or EINVAL if a pointer is missing, or
 *   ERANGE        the state has more than `size` bytes, `*length` tells how many. Nothing is lost and nothing was
 *                 copied: the connection stays the next one to accept, so call again with more room. (Another thread
 *                 may be faster.)
 *
 * With other errors `*length` stays as it was. `*listener` is written to only with a connection.
 */
int socket_protector_accept_state(struct PrivSocketProtector *p, size_t *listener, void *state, size_t size,
                                  size_t *length);

/*
 * Gives an open connection back to the supervisor, which passes it to the next generation, with `length` bytes from
 * `state` on. `listener` is what accepting told. `state` may be NULL if `length` is 0. Meant for the drain; before it the
 * connection waits until another generation serves. If none will, because the supervisor stops, it is closed.
 *
 * Remove the descriptor from epoll first, and do not use a duplicate of it any more. What was read from it and not dealt
 * with, and what was not yet written, belongs into the state.
 *
 * 0: the supervisor has it, or will find it, even if this process exits at once. `fd` is closed.
 * -1: `fd` is open as before and the caller's. errno:
 *   ENOTCONN      there is no supervisor that takes connections back: standalone, or the original's
 *   EPIPE, ECONNRESET
 *                 the supervisor is gone
 *   EMSGSIZE      the state is longer than SOCKET_PROTECTOR_MAX_STATE
 *   ETIMEDOUT     the supervisor did not read for ten seconds. So long this function waits, non-blocking or not
 *   EINVAL        p is NULL, or `state` is without being empty, or a listener cannot have that index
 *   EBADF         `fd` is not open
 */
int socket_protector_give_back(struct PrivSocketProtector *p, int fd, size_t listener, const void *state,
                               size_t length);

/* ---------------------------------------------------------------------------------------------------------------------
 * Event loops
 */

/*
 * A descriptor for poll(2), epoll(7), select(2), kept until socket_protector_destroy: readable whenever an accept would
 * not wait, be it for a connection, for a drain or for socket_protector_terminate. It is level-triggered; a loop that
 * watches it edge-triggered accepts until EAGAIN. After a fork the child asks for it again: the number is the same, but
 * only then it is the child's own. Until then it tells of what concerns the parent.
 *
 * -1 with errno: EMFILE, ENFILE, ENOMEM, ENOSPC.
 */
int socket_protector_fd(struct PrivSocketProtector *p);

/*
 * Switches between accepting that waits and accepting that fails with EAGAIN. Readability is a hint only: another thread
 * or another process may take the connection first, so an event loop should not wait. The connections are in blocking
 * mode either way.
 *
 * 0, or -1 with errno: EMFILE, ENFILE, ENOMEM, ENOSPC.
 */
int socket_protector_set_nonblocking(struct PrivSocketProtector *p, bool nonblocking);

/* ---------------------------------------------------------------------------------------------------------------------
 * The supervisor
 */

/*
 * Tells the supervisor that the daemon can serve. The first accept says it by itself, so this is for a daemon that
 * polls before it accepts, or that accepts elsewhere. Said once, however often called. Without a supervisor, nothing.
 *
 * 0, or -1 with errno: ETIMEDOUT, the supervisor did not read for ten seconds, for so long it waits; else see
 * sendmsg(2). That the supervisor is gone is no error: accepting tells.
 */
int socket_protector_ready(struct PrivSocketProtector *p);

/*
 * Whether the supervisor has told this process to drain. Connections that were passed before may still be there, so
 * accept until ESHUTDOWN; but one that could go on for long (keep-alive) should be ended at its next pause. True for
 * NULL.
 */
bool socket_protector_is_draining(struct PrivSocketProtector *p);

/*
 * A line of UTF-8 that the supervisor shows in its `status`, beyond 1024 bytes cut; bytes that are no UTF-8 are replaced.
 * The last one counts. Never waits. Without a supervisor of ours, or when it is gone, nothing.
 *
 * 0, or -1 with errno: EAGAIN, the supervisor is busy, so say it again later; EINVAL, a pointer is NULL; else see
 * sendmsg(2).
 */
int socket_protector_status(struct PrivSocketProtector *p, const char *text);

/*
 * How many connections the daemon has open, which the supervisor shows in its `status`. The last count is shown. Never
 * waits.
 *
 * 0, or -1 with errno as socket_protector_status.
 */
int socket_protector_open_connections(struct PrivSocketProtector *p, uint32_t count);

/* The number of this generation, from 1 up; 0 without a supervisor of ours, and for NULL. */
uint64_t socket_protector_generation(const struct PrivSocketProtector *p);

/* The name of the supervisor's instance, or "standalone", or the name at which the original supervisor was found. */
const char *socket_protector_name(const struct PrivSocketProtector *p);

/* How many listening sockets were passed; 0 where connections are passed, and for NULL. */
size_t socket_protector_listener_count(const struct PrivSocketProtector *p);

/* The name of a listening socket. NULL with EINVAL if there is none with that index. */
const char *socket_protector_listener_name(const struct PrivSocketProtector *p, size_t index);

/*
 * A listening socket, for a daemon that accepts in its own way; it is non-blocking. -1 with EINVAL if there is none with
 * that index.
 */
int socket_protector_listener_fd(const struct PrivSocketProtector *p, size_t index);

/* ---------------------------------------------------------------------------------------------------------------------
 * Descriptors that outlive a generation: left with the supervisor, which gives them to each later generation, after a
 * reload and after a crash. docs/notify.md tells what becomes of them.
 */

/*
 * Leaves duplicates of `count` descriptors, 1 to 253, with the supervisor under this name: ASCII without control
 * characters and colons, 1 to 255 long. They come to every generation that starts from now on, until they are removed.
 * The descriptors stay open and the caller's.
 *
 * Waits until the supervisor has dealt with it, non-blocking or not, for ten seconds at the most. It keeps a limited
 * number; what is beyond that it tells in its log.
 *
 * 0, or -1 with errno:
 *   ENOTCONN      there is no supervisor that stores: standalone, or the original's
 *   EINVAL        a pointer is NULL, the count is none of 1 to 253, or the name can be nobody's
 *   EBADF         one of `fds` is not open; nothing is stored
 *   ETIMEDOUT     the supervisor did not answer for ten seconds
 *   ECONNREFUSED, ENOENT, ...
 *                 the supervisor is gone; see connect(2) and sendmsg(2)
 */
int socket_protector_store(struct PrivSocketProtector *p, const char *name, const int *fds, size_t count);

/*
 * Removes what is stored under this name. What was taken of it is not closed by that. Waits as socket_protector_store.
 *
 * 0, or -1 with errno as socket_protector_store. That nothing is stored is no error.
 */
int socket_protector_unstore(struct PrivSocketProtector *p, const char *name);

/*
 * Takes one of the descriptors that earlier generations stored under this name, in the order in which they were stored.
 * It is close-on-exec and the caller's, who closes it; it stays stored, for the case that this process dies, until it is
 * removed. After a fork parent and child have each their own to take.
 *
 * -1 with errno: ENOENT, there is none, or all were taken; EINVAL, a pointer is NULL.
 */
int socket_protector_take_stored(struct PrivSocketProtector *p, const char *name);

/* How many descriptors earlier generations stored, whether they were taken meanwhile or not; 0 for NULL. */
size_t socket_protector_stored_count(const struct PrivSocketProtector *p);

/* The name of the descriptor with that index; several may have the same. NULL with EINVAL if there is none. */
const char *socket_protector_stored_name(const struct PrivSocketProtector *p, size_t index);

/* The version of the library, a constant. */
const char *socket_protector_version(void);

/* ---------------------------------------------------------------------------------------------------------------------
 * Handoff: descriptors from one program to another
 *
 * Neither needs a supervisor, and so these functions take no `p`. The bytes are those of the Go library
 * gobwas/graceful. Where there is a path, the other end must belong to root or to the user of this process.
 *
 * Every time limit is in milliseconds, for the whole call, and negative for none. A stream is a connected unix stream
 * socket, blocking or not; it stays open, and is the caller's.
 */

/* A descriptor to send, and `length` bytes that tell the receiver what it is. NULL with length 0 is none. */
struct SocketProtectorDescriptor {
    int fd;
    const void *metadata;
    size_t length;
};
typedef struct SocketProtectorDescriptor SocketProtectorDescriptor;

/* The most bytes of metadata that go with a descriptor. */
#define SOCKET_PROTECTOR_MAX_METADATA 4092

/*
 * Connects to a path, sends, and closes the connection, as socket_protector_send_to.
 *
 * 0, or -1 with errno: EACCES, somebody else's process listens there, or the file does not let this process in;
 * ECONNREFUSED, ENOENT, nobody listens; ENAMETOOLONG, more than 107 bytes; else see socket_protector_send_to.
 */
int socket_protector_send(const char *path, const struct SocketProtectorDescriptor *descriptors, size_t count,
                          int milliseconds);

/*
 * Sends descriptors with their metadata, in this order, 170 of them and 4096 bytes (4 for each, and its metadata) in a
 * message. They stay open here, and may be closed as soon as this returns: they are then on their way, whatever becomes
 * of this process. After an error other than EINVAL and EMSGSIZE a part may have been sent, and the stream is of no use.
 *
 * 0, or -1 with errno: EMSGSIZE, more metadata than SOCKET_PROTECTOR_MAX_METADATA, and nothing was sent; ETIMEDOUT, the
 * other end takes nothing; EPIPE, it has closed; EBADF, what is no descriptor; EINVAL, a pointer is NULL; else see
 * sendmsg(2).
 */
int socket_protector_send_to(int stream, const struct SocketProtectorDescriptor *descriptors, size_t count,
                             int milliseconds);

/*
 * What is called for each descriptor that was received, in their order, when its whole message is there. The descriptor
 * is close-on-exec, and blocks or not as the sender left it: that flag is shared with the sender. The metadata is there
 * until this returns; its length is 0 if there is none.
 *
 * 1 keeps the descriptor, which is then the caller's. 0 lets it be closed, which this function must not do itself.
 * -1 lets it be closed too, and with it all that came and was not given; receiving ends with the errno that was set
 * here, or ECANCELED. It must not throw, nor longjmp.
 */
typedef int (*SocketProtectorTake)(int fd, const void *metadata, size_t length, void *context);

/*
 * Connects to a path and receives until the server there ends, as socket_protector_receive_all_from.
 *
 * How many descriptors came, or -1 with errno as the path gives it to socket_protector_send, and see
 * socket_protector_receive_from.
 */
ptrdiff_t socket_protector_receive(const char *path, SocketProtectorTake take, void *context, int milliseconds);

/*
 * Receives one message. What was sent after it stays in the stream.
 *
 * How many descriptors it had, 0 at the end of file, or -1 with errno: ETIMEDOUT, the other end is silent; EMFILE,
 * descriptors were cut off because this process may open no more; EBADMSG, the other end does not keep to the wire;
 * ECONNABORTED, it has closed in the middle of a message; EBADF, EINVAL, `stream` is no descriptor, `take` is NULL; what
 * `take` has set; else see recvmsg(2). Whatever came of the message is then closed, but for what `take` has kept.
 */
ptrdiff_t socket_protector_receive_from(int stream, SocketProtectorTake take, void *context, int milliseconds);

/*
 * Receives messages until the other end closes. How many descriptors came, or -1 with errno as
 * socket_protector_receive_from.
 */
ptrdiff_t socket_protector_receive_all_from(int stream, SocketProtectorTake take, void *context, int milliseconds);

/* A key, a string of 1 to 255 bytes, and its value, `length` bytes. */
struct SocketProtectorPair {
    const char *key;
    const void *value;
    size_t length;
};
typedef struct SocketProtectorPair SocketProtectorPair;

/*
 * Writes metadata that is a map from keys to values into a buffer of `size` bytes. The pairs may come in any order.
 *
 * How many bytes it has, or -1 with errno: ERANGE, there is no room for it; EINVAL, a key is there twice, is empty or too
 * long, or a pointer is NULL.
 */
ptrdiff_t socket_protector_metadata_map(const struct SocketProtectorPair *pairs, size_t count, void *buffer,
                                        size_t size);

/*
 * The value of a key in metadata that is such a map: a place within the metadata, and its length in `value_length`.
 *
 * NULL with errno: ENOENT, no such key; EBADMSG, the metadata is no such map; EINVAL, a pointer is NULL.
 */
const void *socket_protector_metadata_get(const void *metadata, size_t length, const char *key, size_t *value_length);

#ifdef __cplusplus
}
#endif

#endif
