/*
 * echo_poll.c - an echo daemon around poll(2): one thread, many clients, replaced without losing one.
 *
 *     cc -std=c11 echo_poll.c $(pkg-config --cflags --libs socket_protector) -o echo_poll
 *     socket-protector -f 4321 -- ./echo_poll         # or --pass connections: the program is the same
 *     ./echo_poll 4321                                # by hand, on 127.0.0.1
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
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

enum { MAX_CLIENTS = 1000, BUFFER = 4096 };

/* What a client has sent and not yet got back: the bytes from `sent` to `filled`. */
struct client {
    int fd;
    size_t sent, filled;
    char bytes[BUFFER];
};

static struct client clients[MAX_CLIENTS];
static size_t count;

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

/* Started by hand there is no supervisor: listen here. */
static struct PrivSocketProtector *listen_on(const char *port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener == -1 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) == -1 || listen(listener, SOMAXCONN) == -1)
        die("cannot listen");
    struct PrivSocketProtector *p = socket_protector_standalone(listener);
    close(listener); /* it has a duplicate */
    return p;
}

/* Takes what is there. Whether more may come. */
static bool accept_all(void)
{
    while (count < MAX_CLIENTS) {
        int fd = socket_protector_accept(protector);
        if (fd != -1) {
            /* Connections come in blocking mode. */
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            clients[count].fd = fd;
            clients[count].sent = clients[count].filled = 0;
            count++;
        } else if (errno == ESHUTDOWN || errno == ECANCELED) {
            return false; /* drained, or told to end: finish what is in progress */
        } else if (errno == EAGAIN) {
            return true;
        } else {
            perror("accept");
            return true;
        }
    }
    return true;
}

/* Reads or writes once. Whether the client is still there. */
static bool serve(struct client *client)
{
    ssize_t moved;
    if (client->sent < client->filled) {
        moved = send(client->fd, client->bytes + client->sent, client->filled - client->sent, MSG_NOSIGNAL);
        if (moved > 0)
            client->sent += (size_t)moved;
    } else {
        moved = recv(client->fd, client->bytes, BUFFER, 0);
        client->sent = 0;
        client->filled = moved > 0 ? (size_t)moved : 0;
    }
    return moved > 0 || (moved == -1 && (errno == EAGAIN || errno == EINTR));
}

int main(int argc, char *argv[])
{
    protector = socket_protector_open();
    if (protector == NULL && errno == ENOENT && argc > 1)
        protector = listen_on(argv[1]);
    if (protector == NULL)
        die("no connections to serve");
    int source = socket_protector_fd(protector);
    if (source == -1 || socket_protector_set_nonblocking(protector, true) == -1)
        die("cannot wait for connections");
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_term;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    /* Nothing is accepted before poll says so; so tell that clients may come. */
    if (socket_protector_ready(protector) == -1)
        die("cannot tell that we are ready");

    static struct pollfd polled[1 + MAX_CLIENTS];
    bool accepting = true;
    while (accepting || count > 0) {
        size_t known = count;
        polled[0].fd = accepting && count < MAX_CLIENTS ? source : -1;
        polled[0].events = POLLIN;
        for (size_t i = 0; i < known; i++) {
            polled[1 + i].fd = clients[i].fd;
            polled[1 + i].events = clients[i].sent < clients[i].filled ? POLLOUT : POLLIN;
        }
        if (poll(polled, (nfds_t)(1 + known), -1) == -1) {
            if (errno == EINTR)
                continue;
            die("poll");
        }
        /* From the end, so that the last can take the place of one that has gone. */
        for (size_t i = known; i-- > 0;) {
            if (polled[1 + i].revents != 0 && !serve(&clients[i])) {
                close(clients[i].fd);
                clients[i] = clients[--count];
            }
        }
        if (polled[0].fd != -1 && polled[0].revents != 0)
            accepting = accept_all();
    }
    socket_protector_destroy(protector);
    return EXIT_SUCCESS;
}
