/*
 * line_counter.c - answers each line with the number of lines that its client has sent so far. Clients may stay for
 * ever, and a reload does not wait for them: when it is time to drain, every open connection is given back with its
 * count, this process exits at once, and the next generation goes on counting.
 *
 *     cc -std=c11 line_counter.c $(pkg-config --cflags --libs socket_protector) -o line_counter
 *     socket-protector -f 4321 -- ./line_counter      # or --pass connections: the program is the same
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <socket_protector.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* So many bytes are read at once, and with them lines; an answer has 20 digits at the most; a count has 8 bytes. */
enum { LINES = 1024, ANSWER = 21, COUNT = 8 };

/* One client, and all that the next generation has to know of it. */
struct client {
    int fd;
    size_t listener;
    uint64_t lines;
    /* Answers that the client has not taken yet: the bytes from `sent` to `filled`. */
    size_t sent, filled;
    char answers[LINES * ANSWER];
};

static struct client *clients;
static struct pollfd *polled; /* what gives connections, and then the clients */
static size_t count, room;

static struct PrivSocketProtector *protector;

static void on_term(int signal_number)
{
    (void)signal_number;
    socket_protector_terminate(protector);
}

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Room for one client more. */
static void make_room(void)
{
    if (count < room)
        return;
    room = room == 0 ? 16 : 2 * room;
    clients = realloc(clients, room * sizeof *clients);
    polled = realloc(polled, (1 + room) * sizeof *polled);
    if (clients == NULL || polled == NULL)
        die("clients");
}

/*
 * The count in eight bytes, the lowest first, then the unsent answers. What the client has sent and we have not read stays
 * in the socket and goes over with it.
 */
static size_t write_state(const struct client *client, unsigned char *state)
{
    size_t unsent = client->filled - client->sent;
    for (size_t i = 0; i < COUNT; i++)
        state[i] = (unsigned char)(client->lines >> (8 * i));
    memcpy(state + COUNT, client->answers + client->sent, unsent);
    return COUNT + unsent;
}

/* Reads what write_state wrote. False if another program wrote it. */
static bool read_state(struct client *client, const unsigned char *state, size_t length)
{
    if (length < COUNT || length - COUNT > sizeof client->answers)
        return false;
    for (size_t i = 0; i < COUNT; i++)
        client->lines |= (uint64_t)state[i] << (8 * i);
    client->filled = length - COUNT;
    memcpy(client->answers, state + COUNT, client->filled);
    return true;
}

/* Takes what is there, new connections and those that an earlier generation gave back. Whether more may come. */
static bool accept_all(void)
{
    static unsigned char state[SOCKET_PROTECTOR_MAX_STATE];
    for (;;) {
        make_room();
        struct client *client = &clients[count];
        size_t length;
        int fd = socket_protector_accept_state(protector, &client->listener, state, sizeof state, &length);
        if (fd != -1) {
            client->fd = fd;
            client->lines = 0;
            client->sent = client->filled = 0;
            /* Connections come in blocking mode. */
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            if (length == SOCKET_PROTECTOR_NO_STATE || read_state(client, state, length))
                count++;
            else
                close(fd);
        } else if (errno == ESHUTDOWN || errno == ECANCELED) {
            return false; /* drained, or told to end */
        } else {
            if (errno != EAGAIN) {
                perror("accept");
                poll(NULL, 0, 100); /* until connections that end make room */
            }
            return true;
        }
    }
}

/* Reads some, counts, answers. Whether the client is still there. */
static bool serve(struct client *client)
{
    if (client->sent == client->filled) {
        char bytes[LINES];
        ssize_t length = recv(client->fd, bytes, sizeof bytes, 0);
        if (length <= 0)
            return length == -1 && (errno == EAGAIN || errno == EINTR);
        client->sent = client->filled = 0;
        for (ssize_t i = 0; i < length; i++) {
            if (bytes[i] == '\n') {
                char answer[ANSWER + 1];
                int size = snprintf(answer, sizeof answer, "%llu\n", (unsigned long long)++client->lines);
                memcpy(client->answers + client->filled, answer, (size_t)size);
                client->filled += (size_t)size;
            }
        }
    }
    while (client->sent < client->filled) {
        ssize_t length =
            send(client->fd, client->answers + client->sent, client->filled - client->sent, MSG_NOSIGNAL);
        if (length == -1)
            return errno == EAGAIN || errno == EINTR;
        client->sent += (size_t)length;
    }
    return true;
}

int main(void)
{
    protector = socket_protector_open();
    if (protector == NULL)
        die("no connections to serve");
    int source = socket_protector_fd(protector);
    if (source == -1 || socket_protector_set_nonblocking(protector, true) == -1)
        die("cannot wait for connections");
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_term;
    sigaction(SIGTERM, &action, NULL);

    /* The first accept says that clients may come. */
    while (accept_all()) {
        /* Only for the status, so it may be left out when the supervisor has no time. */
        socket_protector_open_connections(protector, (uint32_t)count);
        polled[0].fd = source;
        polled[0].events = POLLIN;
        for (size_t i = 0; i < count; i++) {
            polled[1 + i].fd = clients[i].fd;
            /* A client that does not take its answers is not read from either. */
            polled[1 + i].events = clients[i].sent < clients[i].filled ? POLLOUT : POLLIN;
        }
        if (poll(polled, (nfds_t)(1 + count), -1) == -1) {
            if (errno == EINTR)
                continue;
            die("poll");
        }
        /* From the end, so that the last can take the place of one that has gone. */
        for (size_t i = count; i-- > 0;) {
            if (polled[1 + i].revents != 0 && !serve(&clients[i])) {
                close(clients[i].fd);
                clients[i] = clients[--count];
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        unsigned char state[COUNT + sizeof clients->answers];
        size_t length = write_state(&clients[i], state);
        /* What cannot be given back ends with this process: a drain that waited for clients that stay for ever would
         * never end. */
        if (socket_protector_give_back(protector, clients[i].fd, clients[i].listener, state, length) == -1) {
            perror("give back");
            close(clients[i].fd);
        }
    }
    socket_protector_destroy(protector);
    free(clients);
    free(polled);
    return EXIT_SUCCESS;
}
