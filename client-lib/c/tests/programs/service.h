/*
 * service.h - what the daemons of the suite do for a client: for each line `HOLD-MS WORD` the answer
 * `GENERATION PID PLACE WORD` after that time, where PLACE is the connection's number in this process. A thread for each
 * client. Common to C11 and C++.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned long long generation;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned long arrived, in_progress;

static void *serve_client(void *argument)
{
    int fd = (int)(size_t)argument;
    pthread_mutex_lock(&lock);
    unsigned long place = ++arrived;
    pthread_mutex_unlock(&lock);
    FILE *client = fdopen(fd, "r");
    char line[256], word[200], answer[300];
    unsigned hold;
    while (client && fgets(line, sizeof line, client) && sscanf(line, "%u %199s", &hold, word) == 2) {
        struct timespec pause;
        pause.tv_sec = hold / 1000;
        pause.tv_nsec = (long)(hold % 1000) * 1000000;
        nanosleep(&pause, NULL);
        int length = snprintf(answer, sizeof answer, "%llu %d %lu %s\n", generation, (int)getpid(), place, word);
        if (send(fd, answer, (size_t)length, MSG_NOSIGNAL) != length)
            break;
    }
    if (client)
        fclose(client);
    pthread_mutex_lock(&lock);
    in_progress--;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void start_serving(int fd)
{
    pthread_mutex_lock(&lock);
    in_progress++;
    pthread_mutex_unlock(&lock);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_client, (void *)(size_t)fd) != 0)
        abort();
    pthread_detach(thread);
}

static void finish_serving(void)
{
    pthread_mutex_lock(&lock);
    while (in_progress > 0)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}
