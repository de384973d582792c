// service.cpp - the suite's daemon as it would be for the original library.

#include "service.h"

#include <SocketProtector.h>

static SocketProtector *current = NULL;

static void on_term(int)
{
    if (current)
        current->terminate();
}

int main(int, char **argv)
{
    signal(SIGTERM, on_term);
    SocketProtector connections(static_cast<uint16_t>(atoi(argv[1])));
    current = &connections;
    while (!connections.is_terminated()) {
        int fd = connections.accept();
        if (fd == -1)
            break;
        start_serving(fd);
    }
    current = NULL;
    finish_serving();
    return 0;
}
