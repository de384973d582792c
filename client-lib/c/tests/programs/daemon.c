/*
 * daemon.c ROLE - what a daemon in C meets. The Rust test beside it is its supervisor. It tells what happens on
 * standard error, a line each, and fails by assert.
 */
#define _GNU_SOURCE
#undef NDEBUG

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <socket_protector.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct PrivSocketProtector *p;

/* The number of an errno, by the names that the header uses. */
static const char *name_of(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{EAGAIN, "EAGAIN"}, {EBADF, "EBADF"}, {EBADMSG, "EBADMSG"}, {ECANCELED, "ECANCELED"},
                 {ECONNREFUSED, "ECONNREFUSED"}, {EINVAL, "EINVAL"}, {EMFILE, "EMFILE"}, {ENOENT, "ENOENT"},
                 {ENOTCONN, "ENOTCONN"}, {ENOTSOCK, "ENOTSOCK"}, {EPERM, "EPERM"}, {EPIPE, "EPIPE"},
                 {EPROTOTYPE, "EPROTOTYPE"}, {ESHUTDOWN, "ESHUTDOWN"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number)
            return names[i].name;
    return strerror(number);
}

static void say(const char *what, int number)
{
    fprintf(stderr, "%s %d\n", what, number);
}

static void say_failure(const char *what)
{
    fprintf(stderr, "%s %s\n", what, name_of(errno));
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    assert(all);
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

/* Answers and closes; the socket is as the header says. */
static void serve(int fd)
{
    assert(fd > 2);
    assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    assert(send(fd, "served", 6, MSG_NOSIGNAL) == 6);
    close(fd);
}

static void on_term(int number)
{
    (void)number;
    errno = 77;
    socket_protector_terminate(p);
    assert(errno == 77);
}

static void catch_term(int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_term;
    action.sa_flags = flags;
    assert(sigaction(SIGTERM, &action, NULL) == 0);
}

static void open_here(void)
{
    p = socket_protector_open();
    if (!p) {
        say_failure("open");
        exit(1);
    }
}

#define FAILS(call, failed, number) (errno = 0, assert((call) == (failed)), assert(errno == (number)))

static void null(void)
{
    size_t listener = 5;
    FAILS(socket_protector_accept(NULL), -1, EINVAL);
    FAILS(socket_protector_accept_from(NULL, &listener), -1, EINVAL);
    assert(listener == 5);
    FAILS(socket_protector_accept_from(NULL, NULL), -1, EINVAL);
    size_t index = 5, length = 5;
    char state[5];
    FAILS(socket_protector_accept_state(NULL, &index, state, sizeof state, &length), -1, EINVAL);
    assert(index == 5 && length == 5);
    FAILS(socket_protector_give_back(NULL, 0, 0, state, sizeof state), -1, EINVAL);
    assert(fcntl(0, F_GETFD) != -1);
    FAILS(socket_protector_status(NULL, "text"), -1, EINVAL);
    FAILS(socket_protector_open_connections(NULL, 1), -1, EINVAL);
    FAILS(socket_protector_fd(NULL), -1, EINVAL);
    FAILS(socket_protector_set_nonblocking(NULL, true), -1, EINVAL);
    FAILS(socket_protector_ready(NULL), -1, EINVAL);
    FAILS(socket_protector_name(NULL), NULL, EINVAL);
    FAILS(socket_protector_generation(NULL), 0, EINVAL);
    FAILS(socket_protector_listener_count(NULL), 0, EINVAL);
    FAILS(socket_protector_listener_name(NULL, 0), NULL, EINVAL);
    FAILS(socket_protector_listener_fd(NULL, 0), -1, EINVAL);
    int zero = 0;
    FAILS(socket_protector_store(NULL, "name", &zero, 1), -1, EINVAL);
    FAILS(socket_protector_unstore(NULL, "name"), -1, EINVAL);
    FAILS(socket_protector_take_stored(NULL, "name"), -1, EINVAL);
    FAILS(socket_protector_stored_count(NULL), 0, EINVAL);
    FAILS(socket_protector_stored_name(NULL, 0), NULL, EINVAL);
    FAILS(socket_protector_is_terminated(NULL), true, EINVAL);
    FAILS(socket_protector_is_draining(NULL), true, EINVAL);
    FAILS((socket_protector_terminate(NULL), 0), 0, 0);
    FAILS((socket_protector_destroy(NULL), 0), 0, 0);
    assert(strcmp(socket_protector_version(), SOCKET_PROTECTOR_VERSION) == 0);
}

/* No supervisor is there. */
static void nobody(void)
{
    int before = open_descriptors();
    FAILS(socket_protector_open(), NULL, ENOENT);
    FAILS(socket_protector_create(1), NULL, ECONNREFUSED);
    FAILS(socket_protector_standalone(-1), NULL, EBADF);
    FAILS(socket_protector_standalone(444), NULL, EBADF);
    FAILS(socket_protector_standalone(0), NULL, ENOTSOCK);
    int stream = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);
    FAILS(socket_protector_standalone(stream), NULL, EINVAL);
    FAILS(socket_protector_standalone(datagram), NULL, EPROTOTYPE);
    close(stream);
    close(datagram);
    int syslog_may_have_one = open_descriptors() - before;
    assert(syslog_may_have_one == 0 || syslog_may_have_one == 1);
}

/* Serves until told to drain, telling what it knows. */
static void tell(void)
{
    int before = open_descriptors();
    open_here();
    assert(!getenv("SOCKET_PROTECTOR_CHANNEL") && !getenv("LISTEN_FDS"));
    FAILS(socket_protector_open(), NULL, EBUSY);
    FAILS(socket_protector_create(1), NULL, EBUSY);
    fprintf(stderr, "%s %d", socket_protector_name(p), (int)socket_protector_generation(p));
    size_t listeners = socket_protector_listener_count(p);
    for (size_t i = 0; i < listeners; i++) {
        fprintf(stderr, " %s", socket_protector_listener_name(p, i));
        int fd = socket_protector_listener_fd(p, i), listens = 0;
        socklen_t size = sizeof listens;
        assert(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens);
        assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    }
    fprintf(stderr, "\n");
    FAILS(socket_protector_listener_name(p, listeners), NULL, EINVAL);
    FAILS(socket_protector_listener_fd(p, listeners), -1, EINVAL);
    assert(!socket_protector_is_draining(p) && !socket_protector_is_terminated(p));
    assert(socket_protector_ready(p) == 0 && socket_protector_ready(p) == 0);
    size_t listener = 99;
    int fd;
    while ((fd = socket_protector_accept_from(p, &listener)) != -1 || errno == EBADMSG) {
        if (fd == -1) {
            say_failure("accept");
            continue;
        }
        serve(fd);
        say("listener", (int)listener);
        listener = 99;
    }
    say_failure("accept");
    assert(listener == 99);
    FAILS(socket_protector_accept(p), -1, ESHUTDOWN);
    assert(socket_protector_is_draining(p) && !socket_protector_is_terminated(p));
    socket_protector_destroy(p);
    /* What was passed has been closed, and nothing left behind. */
    say("closed", before - open_descriptors());
    FAILS(socket_protector_create(1), NULL, EBUSY);
}

/* By the original's functions alone, whichever supervisor is there. */
static void original(void)
{
    p = socket_protector_create(4321);
    if (!p) {
        say_failure("create");
        return;
    }
    catch_term(0);
    fprintf(stderr, "%s\n", socket_protector_name(p));
    int fd;
    while (!socket_protector_is_terminated(p) && (fd = socket_protector_accept(p)) != -1)
        serve(fd);
    say_failure("accept");
    say("terminated", socket_protector_is_terminated(p));
    say("draining", socket_protector_is_draining(p));
    assert(socket_protector_ready(p) == 0 && socket_protector_generation(p) < 100);
    assert(socket_protector_status(p, "ended") == 0 && socket_protector_open_connections(p, 0) == 0);
    int one = socket(AF_INET, SOCK_STREAM, 0);
    if (socket_protector_give_back(p, one, 0, NULL, 0) == -1) {
        say_failure("give back");
        assert(fcntl(one, F_GETFD) != -1 && close(one) == 0);
    }
    socket_protector_destroy(p);
}

/* Waits in accept until a signal's handler terminates. */
static void blocked(void)
{
    open_here();
    catch_term(SA_RESTART);
    assert(socket_protector_accept(p) == -1);
    say_failure("accept");
    FAILS(socket_protector_accept(p), -1, ECANCELED);
    assert(socket_protector_is_terminated(p) && !socket_protector_is_draining(p));
    socket_protector_destroy(p);
}

static void *accept_once(void *failures)
{
    int fd = socket_protector_accept(p);
    if (fd == -1 && errno == ECANCELED)
        __atomic_add_fetch((int *)failures, 1, __ATOMIC_SEQ_CST);
    if (fd != -1)
        serve(fd);
    return NULL;
}

/* Four threads wait; two of them get a connection, all others the word to end. */
static void threads(void)
{
    open_here();
    catch_term(0);
    pthread_t all[4];
    int canceled = 0;
    for (int i = 0; i < 4; i++)
        assert(pthread_create(&all[i], NULL, accept_once, &canceled) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
    say("canceled", canceled);
    socket_protector_destroy(p);
}

/* What is there when it terminates: of a record with three connections two are left, and there is another record. */
static void order(void)
{
    open_here();
    serve(socket_protector_accept(p));
    socket_protector_terminate(p);
    assert(!socket_protector_is_terminated(p));
    int count = 0;
    while (!socket_protector_is_terminated(p)) {
        serve(socket_protector_accept(p));
        count++;
    }
    say("left", count);
    /* One look more is taken, and no other, however many come. */
    serve(socket_protector_accept(p));
    FAILS(socket_protector_accept(p), -1, ECANCELED);
    FAILS(socket_protector_accept(p), -1, ECANCELED);
    socket_protector_destroy(p);
}

static void readable(int expected)
{
    struct pollfd polled = {socket_protector_fd(p), POLLIN, 0};
    assert(polled.fd > 2 && (fcntl(polled.fd, F_GETFD) & FD_CLOEXEC));
    assert(poll(&polled, 1, expected ? -1 : 0) == expected);
}

/* With an event loop: two connections in a record, then the drain, then also the word to end. */
static void polled(void)
{
    open_here();
    assert(socket_protector_set_nonblocking(p, true) == 0);
    FAILS(socket_protector_accept(p), -1, EAGAIN);
    readable(0);
    say("empty", 0);
    for (int i = 0; i < 2; i++) {
        readable(1);
        serve(socket_protector_accept(p));
    }
    readable(0);
    FAILS(socket_protector_accept(p), -1, EAGAIN);
    say("empty", 1);
    readable(1);
    FAILS(socket_protector_accept(p), -1, ESHUTDOWN);
    readable(1);
    socket_protector_terminate(p);
    FAILS(socket_protector_accept(p), -1, ESHUTDOWN);
    socket_protector_destroy(p);
}

/* The word to end wakes an event loop. */
static void rung(void)
{
    open_here();
    assert(socket_protector_set_nonblocking(p, true) == 0);
    readable(0);
    socket_protector_terminate(p);
    readable(1);
    FAILS(socket_protector_accept(p), -1, ECANCELED);
    socket_protector_destroy(p);
}

/* No descriptors left: connections wait where they are. */
static void few(void)
{
    open_here();
    struct rlimit limit;
    assert(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t before = limit.rlim_cur;
    int last = dup(0);
    close(last);
    limit.rlim_cur = (rlim_t)last;
    assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    FAILS(socket_protector_accept(p), -1, EMFILE);
    FAILS(socket_protector_fd(p), -1, EMFILE);
    limit.rlim_cur = before;
    assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    serve(socket_protector_accept(p));
    assert(socket_protector_fd(p) > 2);
    FAILS(socket_protector_accept(p), -1, ESHUTDOWN);
    socket_protector_destroy(p);
}

static void serve_until(int number)
{
    int fd;
    while ((fd = socket_protector_accept(p)) != -1)
        serve(fd);
    assert(errno == number);
}

/* Three processes accept by what one opened. One is told to end, which is nothing to the others. */
static void forked(void)
{
    open_here();
    catch_term(0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        assert(pid != -1);
        if (pid == 0) {
            if (i == 0)
                raise(SIGTERM); /* before its first accept */
            serve_until(i == 0 ? ECANCELED : ESHUTDOWN);
            _exit(0);
        }
        say("pid", pid);
    }
    serve_until(ESHUTDOWN);
    int status;
    while (wait(&status) != -1)
        assert(status == 0);
    assert(!socket_protector_is_terminated(p));
    socket_protector_destroy(p);
}

/* A connection without a state. */
static int accept_new(void)
{
    size_t listener = 99, length = 99;
    int fd = socket_protector_accept_state(p, &listener, NULL, 0, &length);
    assert(fd != -1 && listener != 99 && length == SOCKET_PROTECTOR_NO_STATE);
    return fd;
}

/* New connections and such that were given back, whose states need more and less room. */
static void states(void)
{
    open_here();
    assert(socket_protector_set_nonblocking(p, true) == 0);
    char state[8] = "-------";
    size_t listener = 99, length = 99;
    serve(accept_new());
    /* Seven bytes, first without room, then with one byte too few. */
    FAILS(socket_protector_accept_state(p, &listener, state, 7, NULL), -1, EINVAL);
    FAILS(socket_protector_accept_state(p, &listener, NULL, 7, &length), -1, EINVAL);
    assert(length == 99);
    for (size_t room = 0; room <= 6; room += 6) {
        length = 99;
        FAILS(socket_protector_accept_state(p, &listener, room ? state : NULL, room, &length), -1, ERANGE);
        assert(length == 7 && listener == 99 && strcmp(state, "-------") == 0);
        readable(1);
    }
    /* Nor may it end before somebody has taken that one. */
    socket_protector_terminate(p);
    assert(!socket_protector_is_terminated(p));
    int fd = socket_protector_accept_state(p, &listener, state, 7, &length);
    assert(length == 7 && listener == 1 && memcmp(state, "a state", 8) == 0);
    assert(socket_protector_is_terminated(p));
    serve(fd);
    socket_protector_destroy(p);
}

/* An empty state, the longest one, and one that nobody asks for. */
static void long_states(void)
{
    open_here();
    static char all[SOCKET_PROTECTOR_MAX_STATE];
    size_t listener = 99, length = 99;
    int fd = socket_protector_accept_state(p, &listener, NULL, 0, &length);
    assert(listener == 0 && length == 0);
    serve(fd);
    fd = socket_protector_accept_state(p, NULL, all, sizeof all, &length);
    assert(length == sizeof all);
    for (size_t i = 0; i < sizeof all; i++)
        assert(all[i] == 7);
    serve(fd);
    serve(socket_protector_accept(p));
    length = 99;
    FAILS(socket_protector_accept_state(p, &listener, all, sizeof all, &length), -1, ESHUTDOWN);
    assert(listener == 0 && length == 99);
    socket_protector_destroy(p);
}

/* Gives two of three back, and finds every reason for which it may not be. */
static void give(void)
{
    open_here();
    static const char state[SOCKET_PROTECTOR_MAX_STATE + 1];
    int first = accept_new(), second = accept_new(), third = accept_new(), before = open_descriptors();
    assert(socket_protector_open_connections(p, 3) == 0);
    assert(socket_protector_status(p, "t\xc3\xa4tig \xff") == 0);
    FAILS(socket_protector_status(p, NULL), -1, EINVAL);
    FAILS(socket_protector_give_back(p, first, 1, state, sizeof state), -1, EMSGSIZE);
    FAILS(socket_protector_give_back(p, first, 1, state, (size_t)-1), -1, EMSGSIZE);
    FAILS(socket_protector_give_back(p, first, 1, NULL, 1), -1, EINVAL);
    FAILS(socket_protector_give_back(p, first, 65536, state, 1), -1, EINVAL);
    FAILS(socket_protector_give_back(p, -1, 1, state, 1), -1, EBADF);
    FAILS(socket_protector_give_back(p, 444, 1, state, 1), -1, EBADF);
    assert(open_descriptors() == before);
    assert(socket_protector_give_back(p, first, 3, "so far", 6) == 0);
    assert(socket_protector_give_back(p, second, 65535, state, sizeof state - 1) == 0);
    assert(open_descriptors() == before - 2);
    FAILS(fcntl(first, F_GETFD), -1, EBADF);
    say("given", 2);
    FAILS(socket_protector_accept(p), -1, ESHUTDOWN);
    FAILS(socket_protector_give_back(p, third, 0, NULL, 0), -1, EPIPE);
    assert(socket_protector_status(p, "gone") == 0 && socket_protector_open_connections(p, 1) == 0);
    serve(third);
    socket_protector_destroy(p);
}

/* Nobody reads the channel. What never waits says so. */
static void full(void)
{
    open_here();
    int told = 0;
    while (socket_protector_open_connections(p, 1) == 0)
        told++;
    assert(told > 0 && errno == EAGAIN);
    FAILS(socket_protector_status(p, "busy"), -1, EAGAIN);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("full", 0);
    assert(socket_protector_give_back(p, fd, 0, NULL, 0) == 0);
    socket_protector_destroy(p);
}

/* Takes what an earlier generation stored, two under one name and one under another, and stores one of them again. */
static void stored(void)
{
    open_here();
    assert(socket_protector_listener_count(p) == 0 && socket_protector_stored_count(p) == 3);
    const char *names[] = {"state", "more", "state"};
    for (size_t i = 0; i < 3; i++)
        assert(strcmp(socket_protector_stored_name(p, i), names[i]) == 0);
    FAILS(socket_protector_stored_name(p, 3), NULL, EINVAL);
    FAILS(socket_protector_take_stored(p, "none"), -1, ENOENT);
    FAILS(socket_protector_take_stored(p, NULL), -1, EINVAL);
    int first = socket_protector_take_stored(p, "state"), second = socket_protector_take_stored(p, "state");
    assert(first == 3 && second == 5 && fcntl(second, F_GETFD) == FD_CLOEXEC);
    FAILS(socket_protector_take_stored(p, "state"), -1, ENOENT);
    assert(socket_protector_stored_count(p) == 3);
    int both[] = {first, second}, closed[] = {first, 444}, none[] = {first, -1};
    int before = open_descriptors();
    FAILS(socket_protector_store(p, "kept", NULL, 1), -1, EINVAL);
    FAILS(socket_protector_store(p, "kept", both, 0), -1, EINVAL);
    FAILS(socket_protector_store(p, "kept", both, 254), -1, EINVAL);
    FAILS(socket_protector_store(p, NULL, both, 2), -1, EINVAL);
    FAILS(socket_protector_store(p, "a:b", both, 2), -1, EINVAL);
    FAILS(socket_protector_store(p, "\xff", both, 2), -1, EINVAL);
    FAILS(socket_protector_store(p, "kept", closed, 2), -1, EBADF);
    FAILS(socket_protector_store(p, "kept", none, 2), -1, EBADF);
    FAILS(socket_protector_unstore(p, ""), -1, EINVAL);
    assert(socket_protector_store(p, "kept", both, 2) == 0);
    assert(socket_protector_unstore(p, "state") == 0);
    assert(open_descriptors() == before);
    say("stored", 2);
    /* Nobody answers any more. */
    FAILS(socket_protector_store(p, "kept", both, 2), -1, ETIMEDOUT);
    assert(open_descriptors() == before);
    socket_protector_destroy(p);
}

/* The descriptor of an event loop, from before a fork and after it. */
static void forked_polled(void)
{
    open_here();
    assert(socket_protector_set_nonblocking(p, true) == 0);
    int number = socket_protector_fd(p);
    serve(socket_protector_accept(p));
    readable(1); /* one more is left of the record */
    pid_t pid = fork();
    assert(pid != -1);
    if (pid == 0) {
        alarm(30);
        assert(socket_protector_fd(p) == number);
        readable(0); /* that is the parent's */
        FAILS(socket_protector_accept(p), -1, EAGAIN);
        socket_protector_terminate(p);
        readable(1);
        FAILS(socket_protector_accept(p), -1, ECANCELED);
        _exit(0);
    }
    int status = -1;
    assert(waitpid(pid, &status, 0) == pid && status == 0);
    readable(1);
    serve(socket_protector_accept(p));
    readable(0); /* nor has the child's word to end anything to do with this process */
    FAILS(socket_protector_accept(p), -1, EAGAIN);
    socket_protector_destroy(p);
}

/* Nobody ever reads the channel. What waits gives up, and the connection is as it was. */
static void stuck(void)
{
    open_here();
    while (socket_protector_open_connections(p, 1) == 0)
        ;
    int fd = socket(AF_INET, SOCK_STREAM, 0), before = open_descriptors();
    FAILS(socket_protector_give_back(p, fd, 0, NULL, 0), -1, ETIMEDOUT);
    assert(open_descriptors() == before && close(fd) == 0);
    /* Nor can it say that it is ready. */
    FAILS(socket_protector_accept(p), -1, ETIMEDOUT);
    socket_protector_destroy(p);
}

/* A listener of its own, standard input. */
static void standalone(void)
{
    int before = open_descriptors();
    p = socket_protector_standalone(0);
    assert(p);
    close(0);
    assert(open("/dev/null", O_RDONLY) == 0);
    assert(strcmp(socket_protector_name(p), "standalone") == 0 && socket_protector_generation(p) == 0);
    assert(!socket_protector_is_draining(p));
    size_t listener = 99;
    serve(socket_protector_accept_from(p, &listener));
    assert(listener == 0);
    int fd = accept_new();
    FAILS(socket_protector_give_back(p, fd, 0, "state", 5), -1, ENOTCONN);
    FAILS(socket_protector_store(p, "name", &fd, 1), -1, ENOTCONN);
    FAILS(socket_protector_unstore(p, "name"), -1, ENOTCONN);
    FAILS(socket_protector_take_stored(p, "name"), -1, ENOENT);
    assert(socket_protector_stored_count(p) == 0);
    assert(socket_protector_status(p, "alone") == 0 && socket_protector_open_connections(p, 1) == 0);
    serve(fd);
    socket_protector_terminate(p);
    FAILS(socket_protector_accept(p), -1, ECANCELED);
    socket_protector_destroy(p);
    assert(open_descriptors() == before);
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        void (*run)(void);
    } roles[] = {{"null", null}, {"nobody", nobody}, {"tell", tell}, {"original", original}, {"blocked", blocked},
                 {"threads", threads}, {"order", order}, {"polled", polled}, {"rung", rung}, {"few", few},
                 {"forked", forked}, {"standalone", standalone}, {"states", states},
                 {"long_states", long_states}, {"give", give}, {"full", full},
                 {"stuck", stuck}, {"stored", stored}, {"forked_polled", forked_polled}};
    assert(argc == 2);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(argv[1], roles[i].name) == 0) {
            roles[i].run();
            fprintf(stderr, "done\n");
            return 0;
        }
    }
    return 2;
}
