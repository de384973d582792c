/* service.c - the suite's daemon in C. */
#define _POSIX_C_SOURCE 200809L

#include "service.h"

#include <socket_protector.h>

static struct PrivSocketProtector *p;

static void on_term(int number)
{
    (void)number;
    socket_protector_terminate(p);
}

int main(void)
{
    p = socket_protector_open();
    if (!p)
        return 1;
    generation = socket_protector_generation(p);
    signal(SIGTERM, on_term);
    int fd;
    while ((fd = socket_protector_accept(p)) != -1)
        start_serving(fd);
    finish_serving();
    socket_protector_destroy(p);
    return 0;
}
