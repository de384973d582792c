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
                 {ENOTSOCK, "ENOTSOCK"}, {EPERM, "EPERM"}, {EPROTOTYPE, "EPROTOTYPE"}, {ESHUTDOWN, "ESHUTDOWN"}};
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
    unsigned int listener = 5;
    FAILS(socket_protector_accept(NULL), -1, EINVAL);
    FAILS(socket_protector_accept_from(NULL, &listener), -1, EINVAL);
    assert(listener == 5);
    FAILS(socket_protector_accept_from(NULL, NULL), -1, EINVAL);
    FAILS(socket_protector_fd(NULL), -1, EINVAL);
    FAILS(socket_protector_set_nonblocking(NULL, true), -1, EINVAL);
    FAILS(socket_protector_ready(NULL), -1, EINVAL);
    FAILS(socket_protector_name(NULL), NULL, EINVAL);
    FAILS(socket_protector_generation(NULL), 0, EINVAL);
    FAILS(socket_protector_listener_count(NULL), 0, EINVAL);
    FAILS(socket_protector_listener_name(NULL, 0), NULL, EINVAL);
    FAILS(socket_protector_listener_fd(NULL, 0), -1, EINVAL);
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
    FAILS(socket_protector_open(), NULL, ENOENT);
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
    unsigned int listener = 99;
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
    unsigned int listener = 99;
    serve(socket_protector_accept_from(p, &listener));
    assert(listener == 0);
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
                 {"forked", forked}, {"standalone", standalone}};
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
