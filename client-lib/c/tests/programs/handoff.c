/*
 * handoff.c - the suite's program for handoffs in C. Its standard input is the stream.
 *
 *     handoff send              sends its standard error as "log" and a pipe without metadata, then more: 400 of them
 *     handoff receive           prints for each descriptor DEVICE:INODE LENGTH, and keeps one of three
 *     handoff refuse            refuses the second descriptor with ENOSPC
 *     handoff errors PATH       every errno that the header tells of; PATH is a socket that nobody listens to
 *     handoff map               sends a descriptor with a map, and looks into the one of the descriptor that it gets
 *     handoff exchange SEND RECEIVE    sends to the one path and receives from the other
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <socket_protector.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY = 400, LIMIT = 20000 };

/* How many descriptors are open; numbers are low in this program. */
static int census(void)
{
    int count = 0;
    for (int fd = 0; fd < 2000; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

static int kept[MANY], keeps, seen;

static int print(int fd, const void *metadata, size_t length, void *context)
{
    struct stat found;
    assert(fstat(fd, &found) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    assert(length == 0 || metadata != NULL);
    printf("%s%llu:%llu %.*s\n", (const char *)context, (unsigned long long)found.st_dev,
           (unsigned long long)found.st_ino, (int)length, (const char *)metadata);
    if (seen++ % 3 != 0)
        return 0;
    kept[keeps++] = fd;
    return 1;
}

static int refuse(int fd, const void *metadata, size_t length, void *context)
{
    (void)fd, (void)metadata, (void)length, (void)context;
    if (++seen < 2)
        return 0;
    errno = ENOSPC;
    return -1;
}

static int ignore(int fd, const void *metadata, size_t length, void *context)
{
    (void)fd, (void)metadata, (void)length, (void)context;
    return 0;
}

static void send_all(void)
{
    struct SocketProtectorDescriptor some[2] = {{2, "log", 3}, {1, NULL, 0}};
    assert(socket_protector_send_to(0, some, 2, LIMIT) == 0);
    struct SocketProtectorDescriptor many[MANY];
    char names[MANY][8];
    for (int i = 0; i < MANY; i++) {
        many[i].fd = 2;
        many[i].metadata = names[i];
        many[i].length = (size_t)snprintf(names[i], sizeof names[i], "%d", i);
    }
    assert(socket_protector_send_to(0, many, MANY, LIMIT) == 0);
    assert(socket_protector_send_to(0, NULL, 0, LIMIT) == 0);
}

static void receive_all(void)
{
    char prefix[] = "fd ";
    int before = census();
    ptrdiff_t first = socket_protector_receive_from(0, print, prefix, LIMIT);
    ptrdiff_t rest = socket_protector_receive_all_from(0, print, prefix, LIMIT);
    assert(first > 0 && rest >= 0 && first + rest == seen);
    assert(socket_protector_receive_from(0, print, prefix, LIMIT) == 0);
    assert(census() == before + keeps);
    printf("kept %d\n", keeps);
}

static void refuse_second(void)
{
    int before = census();
    errno = 0;
    assert(socket_protector_receive_from(0, refuse, NULL, LIMIT) == -1);
    assert(errno == ENOSPC && seen == 2 && census() == before);
}

static void fails(ptrdiff_t answer, int expected)
{
    if (answer != -1 || errno != expected) {
        fprintf(stderr, "answer %d, errno %d, expected %d\n", (int)answer, errno, expected);
        exit(1);
    }
    errno = 0;
}

static void errors(const char *path)
{
    static char large[SOCKET_PROTECTOR_MAX_METADATA + 1];
    struct SocketProtectorDescriptor fine = {2, large, SOCKET_PROTECTOR_MAX_METADATA}, no_fd = {-1, NULL, 0};
    struct SocketProtectorDescriptor closed = {1999, NULL, 0}, no_metadata = {2, NULL, 1}, too_large = {2, large, sizeof large};
    int pair[2];
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    fails(socket_protector_send_to(pair[0], &too_large, 1, LIMIT), EMSGSIZE);
    fails(socket_protector_send_to(pair[0], &no_fd, 1, LIMIT), EBADF);
    fails(socket_protector_send_to(pair[0], &closed, 1, LIMIT), EBADF);
    fails(socket_protector_send_to(pair[0], &no_metadata, 1, LIMIT), EINVAL);
    fails(socket_protector_send_to(pair[0], NULL, 1, LIMIT), EINVAL);
    fails(socket_protector_send_to(-1, &fine, 1, LIMIT), EBADF);
    fails(socket_protector_send(NULL, &fine, 1, LIMIT), EINVAL);
    fails(socket_protector_send("/nonexistent/socket", &fine, 1, LIMIT), ENOENT);
    fails(socket_protector_send(path, &fine, 1, LIMIT), ECONNREFUSED);
    fails(socket_protector_receive(path, ignore, NULL, LIMIT), ECONNREFUSED);
    fails(socket_protector_receive(NULL, ignore, NULL, LIMIT), EINVAL);
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    fails(socket_protector_receive(large, ignore, NULL, LIMIT), ENAMETOOLONG);
    fails(socket_protector_receive_from(-1, ignore, NULL, LIMIT), EBADF);
    fails(socket_protector_receive_from(pair[1], NULL, NULL, LIMIT), EINVAL);
    /* Nothing has arrived so far. */
    fails(socket_protector_receive_from(pair[1], ignore, NULL, 0), ETIMEDOUT);
    assert(socket_protector_send_to(pair[0], &fine, 1, LIMIT) == 0);
    assert(socket_protector_receive_from(pair[1], ignore, NULL, LIMIT) == 1);
    assert(write(pair[0], "HELLO", 5) == 5);
    fails(socket_protector_receive_from(pair[1], ignore, NULL, LIMIT), EBADMSG);
    while (socket_protector_send_to(pair[0], &fine, 1, 0) == 0)
        ;
    assert(errno == ETIMEDOUT);
    close(pair[1]);
    fails(socket_protector_send_to(pair[0], &fine, 1, LIMIT), EPIPE);
}

static int look(int fd, const void *metadata, size_t length, void *context)
{
    (void)fd, (void)context;
    size_t size = 99;
    const char *value = socket_protector_metadata_get(metadata, length, "name", &size);
    assert(value != NULL && size == 5 && memcmp(value, "a\0 b!", 5) == 0);
    assert(socket_protector_metadata_get(metadata, length, "empty", &size) != NULL && size == 0);
    assert(socket_protector_metadata_get(metadata, length, "nam", &size) == NULL && errno == ENOENT);
    assert(socket_protector_metadata_get(metadata, length - 1, "name", &size) == NULL && errno == EBADMSG);
    assert(socket_protector_metadata_get(NULL, 0, "name", &size) == NULL && errno == EBADMSG);
    assert(socket_protector_metadata_get(metadata, length, NULL, &size) == NULL && errno == EINVAL);
    return 0;
}

static void map(void)
{
    struct SocketProtectorPair pairs[2] = {{"name", "x", 1}, {"kind", "tcp", 3}};
    struct SocketProtectorPair twice[2] = {{"k", NULL, 0}, {"k", NULL, 0}}, no_key = {NULL, NULL, 0}, no_value = {"k", NULL, 1};
    char buffer[100];
    ptrdiff_t length = socket_protector_metadata_map(pairs, 2, buffer, sizeof buffer);
    assert(length == 23 && socket_protector_metadata_map(pairs, 2, buffer, 23) == 23);
    struct SocketProtectorDescriptor error = {2, buffer, (size_t)length};
    assert(socket_protector_send_to(0, &error, 1, LIMIT) == 0);
    fails(socket_protector_metadata_map(pairs, 2, buffer, 22), ERANGE);
    fails(socket_protector_metadata_map(twice, 2, buffer, sizeof buffer), EINVAL);
    fails(socket_protector_metadata_map(&no_key, 1, buffer, sizeof buffer), EINVAL);
    fails(socket_protector_metadata_map(&no_value, 1, buffer, sizeof buffer), EINVAL);
    fails(socket_protector_metadata_map(NULL, 1, buffer, sizeof buffer), EINVAL);
    fails(socket_protector_metadata_map(pairs, 2, NULL, 0), EINVAL);
    assert(socket_protector_metadata_map(NULL, 0, buffer, 1) == 1 && buffer[0] == 0);
    assert(socket_protector_receive_from(0, look, NULL, LIMIT) == 1);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "send") == 0)
        send_all();
    else if (strcmp(word, "receive") == 0)
        receive_all();
    else if (strcmp(word, "refuse") == 0)
        refuse_second();
    else if (strcmp(word, "map") == 0)
        map();
    else if (strcmp(word, "errors") == 0 && argc > 2)
        errors(argv[2]);
    else if (strcmp(word, "exchange") == 0 && argc > 3) {
        char prefix[] = "";
        struct SocketProtectorDescriptor input = {0, "input", 5};
        assert(socket_protector_send(argv[2], &input, 1, LIMIT) == 0);
        assert(socket_protector_receive(argv[3], print, prefix, LIMIT) == 2);
    } else
        return 2;
    return 0;
}
