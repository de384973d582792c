// A daemon as it was written for the original library: its header, its class, its way to end. C++98, as it was.

#include <SocketProtector.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <unistd.h>

static SocketProtector *current = NULL;

static void end_it(int)
{
    if (current)
        current->terminate();
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    std::cout << "port " << argv[1] << std::endl;
    signal(SIGTERM, end_it);
    signal(SIGINT, end_it);

    SocketProtector connections(static_cast<uint16_t>(std::strtol(argv[1], NULL, 10)));
    current = &connections;
    for (;;) {
        if (connections.is_terminated())
            break;
        int connection = connections.accept();
        if (connection == -1)
            break;
        std::cout << "new connection" << std::endl;
        char letter;
        while (read(connection, &letter, 1) == 1)
            std::cout << letter << std::flush;
        close(connection);
        std::cout << "end of connection" << std::endl;
    }
    current = NULL;
    std::cout << "ended, " << (connections.is_terminated() ? "terminated" : "drained") << std::endl;
    return 0;
}
