// echo_class.cpp - an echo daemon with the class of the original SocketProtector: a thread for each client.
//
//     c++ -std=c++17 echo_class.cpp $(pkg-config --cflags --libs socket_protector) -pthread -o echo_class
//     socket-protector -f 4321 -- ./echo_class 4321   # or --pass connections: the program is the same
//
// It runs under the original's supervisor as well.

#include <SocketProtector.h>

#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace {

SocketProtector *serving = nullptr;

std::mutex lock;
std::condition_variable changed;
unsigned long in_progress = 0;

void on_term(int)
{
    if (serving != nullptr)
        serving->terminate();
}

void echo(int client)
{
    char bytes[4096];
    ssize_t count;
    while ((count = recv(client, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t sent = 0; sent < count;) {
            ssize_t moved = send(client, bytes + sent, static_cast<size_t>(count - sent), MSG_NOSIGNAL);
            if (moved == -1)
                break;
            sent += moved;
        }
    }
    close(client);
    std::lock_guard<std::mutex> locked(lock);
    --in_progress;
    changed.notify_one();
}

} // namespace

int main(int argc, char *argv[])
{
    if (argc != 2) {
        std::cerr << "usage: echo_class PORT\n";
        return 2;
    }
    SocketProtector protector(static_cast<uint16_t>(std::atoi(argv[1])));
    if (protector.is_terminated()) {
        std::cerr << "echo_class: no supervisor; the system's log has the reason\n";
        return 1;
    }
    serving = &protector;
    std::signal(SIGTERM, on_term);
    std::signal(SIGINT, on_term);

    while (!protector.is_terminated()) {
        int client = protector.accept();
        if (client == -1)
            break; // drained, or told to end
        std::lock_guard<std::mutex> locked(lock);
        ++in_progress;
        std::thread(echo, client).detach();
    }
    // What is in progress is finished.
    std::unique_lock<std::mutex> locked(lock);
    changed.wait(locked, [] { return in_progress == 0; });
    serving = nullptr;
    return 0;
}
