/* Both headers alone, and the first one twice; as C and as C++. */
#include <socket_protector.h>
#include <SocketProtector.h>
#include <socket_protector.h>

int main(void)
{
    /* Every function has the type that the documentation says. */
    struct PrivSocketProtector *(*create)(uint16_t) = socket_protector_create;
    void (*destroy)(PrivSocketProtector *) = socket_protector_destroy;
    void (*terminate)(PrivSocketProtector *) = socket_protector_terminate;
    bool (*is_terminated)(PrivSocketProtector *) = socket_protector_is_terminated;
    int (*accept)(PrivSocketProtector *) = socket_protector_accept;
    struct PrivSocketProtector *(*open)(void) = socket_protector_open;
    struct PrivSocketProtector *(*standalone)(int) = socket_protector_standalone;
    int (*accept_from)(struct PrivSocketProtector *, size_t *) = socket_protector_accept_from;
    int (*accept_state)(struct PrivSocketProtector *, size_t *, void *, size_t, size_t *) =
        socket_protector_accept_state;
    int (*give_back)(struct PrivSocketProtector *, int, size_t, const void *, size_t) = socket_protector_give_back;
    int (*status)(struct PrivSocketProtector *, const char *) = socket_protector_status;
    int (*open_connections)(struct PrivSocketProtector *, uint32_t) = socket_protector_open_connections;
    int (*fd)(struct PrivSocketProtector *) = socket_protector_fd;
    int (*set_nonblocking)(struct PrivSocketProtector *, bool) = socket_protector_set_nonblocking;
    int (*ready)(struct PrivSocketProtector *) = socket_protector_ready;
    bool (*is_draining)(struct PrivSocketProtector *) = socket_protector_is_draining;
    uint64_t (*generation)(const struct PrivSocketProtector *) = socket_protector_generation;
    const char *(*name)(const struct PrivSocketProtector *) = socket_protector_name;
    size_t (*listener_count)(const struct PrivSocketProtector *) = socket_protector_listener_count;
    const char *(*listener_name)(const struct PrivSocketProtector *, size_t) = socket_protector_listener_name;
    int (*listener_fd)(const struct PrivSocketProtector *, size_t) = socket_protector_listener_fd;
    int (*store)(struct PrivSocketProtector *, const char *, const int *, size_t) = socket_protector_store;
    int (*unstore)(struct PrivSocketProtector *, const char *) = socket_protector_unstore;
    int (*take_stored)(struct PrivSocketProtector *, const char *) = socket_protector_take_stored;
    size_t (*stored_count)(const struct PrivSocketProtector *) = socket_protector_stored_count;
    const char *(*stored_name)(const struct PrivSocketProtector *, size_t) = socket_protector_stored_name;
    const char *(*version)(void) = socket_protector_version;
    int (*send)(const char *, const struct SocketProtectorDescriptor *, size_t, int) = socket_protector_send;
    int (*send_to)(int, const SocketProtectorDescriptor *, size_t, int) = socket_protector_send_to;
    ptrdiff_t (*receive)(const char *, SocketProtectorTake, void *, int) = socket_protector_receive;
    ptrdiff_t (*receive_from)(int, SocketProtectorTake, void *, int) = socket_protector_receive_from;
    ptrdiff_t (*receive_all_from)(int, SocketProtectorTake, void *, int) = socket_protector_receive_all_from;
    ptrdiff_t (*map)(const SocketProtectorPair *, size_t, void *, size_t) = socket_protector_metadata_map;
    const void *(*get)(const void *, size_t, const char *, size_t *) = socket_protector_metadata_get;
    return !(create && destroy && terminate && is_terminated && accept && open && standalone && accept_from && fd &&
             set_nonblocking && ready && is_draining && generation && name && listener_count && listener_name &&
             listener_fd && version && accept_state && give_back && status && open_connections && store &&
             unstore && take_stored && stored_count && stored_name &&
             send && send_to && receive && receive_from && receive_all_from && map && get &&
             SOCKET_PROTECTOR_NO_STATE > SOCKET_PROTECTOR_MAX_STATE && sizeof SOCKET_PROTECTOR_VERSION > 1);
}
