// A program in Go that speaks the wire of docs/protocol.md, for the suite: standard library alone, and written after
// that page, with the buffers that Go's receivers have (4096 bytes each).
//
//	peer serve PATH none|raw|gob FILE...   gives one client the files, the name as metadata, and ends
//	peer values PATH                       gives one client /dev/null with a map of every type
//	peer half PATH                         sends the beginning of a message, and ends
//	peer listener PATH                     gives one client a TCP listener, and tells whether it still blocks
//	peer receive PATH                      prints what it is given: DEVICE:INODE BLOCKS METADATA
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"
)

// Meta has the name by which the map's type goes over the wire.
type Meta map[string]interface{}

const (
	messageBytes    = 4096
	descriptorsEach = 170
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func main() {
	command, path, rest := os.Args[1], os.Args[2], os.Args[3:]
	switch command {
	case "serve":
		serve(path, rest[0], rest[1:])
	case "values":
		one(path, func(conn *net.UnixConn) {
			file := open("/dev/null")
			send(conn, []int{file}, [][]byte{encoded(Meta{
				"nil": nil, "bool": true, "int": -7, "int64": int64(1) << 40, "uint": uint(300), "float64": -2.5,
				"bytes": []byte{0, 1, 255}, "string": strings.Repeat("long ", 60),
			})})
		})
	case "half":
		one(path, func(conn *net.UnixConn) {
			_, _, err := conn.WriteMsgUnix([]byte{9, 0, 0, 0, 'h'}, syscall.UnixRights(open("/dev/null"), open("/dev/null")), nil)
			check(err)
		})
	case "listener":
		giveListener(path)
	case "receive":
		receive(path)
	default:
		check(fmt.Errorf("no such command: %s", command))
	}
}

// Serves one client.
func one(path string, give func(*net.UnixConn)) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(err)
	fmt.Println("listens")
	conn, err := listener.AcceptUnix()
	check(err)
	give(conn)
	check(conn.Close())
	check(listener.Close())
}

func open(name string) int {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	check(err)
	return fd
}

func encoded(meta Meta) []byte {
	var buffer bytes.Buffer
	check(gob.NewEncoder(&buffer).Encode(meta))
	return buffer.Bytes()
}

func serve(path, style string, files []string) {
	var fds []int
	var all [][]byte
	for _, name := range files {
		fds = append(fds, open(name))
		switch style {
		case "gob":
			all = append(all, encoded(Meta{"name": name}))
		case "raw":
			all = append(all, []byte(name))
		default:
			all = append(all, nil)
		}
	}
	one(path, func(conn *net.UnixConn) { send(conn, fds, all) })
}

// As few messages as the limits allow.
func send(conn *net.UnixConn, fds []int, all [][]byte) {
	for len(fds) > 0 {
		var message []byte
		count := 0
		for count < len(fds) && count < descriptorsEach && len(message)+4+len(all[count]) <= messageBytes {
			message = binary.LittleEndian.AppendUint32(message, uint32(len(all[count])))
			message = append(message, all[count]...)
			count++
		}
		_, _, err := conn.WriteMsgUnix(message, syscall.UnixRights(fds[:count]...), nil)
		check(err)
		fds, all = fds[count:], all[count:]
	}
}

func blocks(fd uintptr) bool {
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
	if errno != 0 {
		check(errno)
	}
	return flags&syscall.O_NONBLOCK == 0
}

func giveListener(path string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	// Shared with the listener; File makes it blocking.
	file, err := listener.(*net.TCPListener).File()
	check(err)
	one(path, func(conn *net.UnixConn) {
		fd := int(file.Fd())
		fmt.Println("blocks", blocks(uintptr(fd)))
		send(conn, []int{fd}, [][]byte{[]byte(listener.Addr().String())})
		// The other end closes when it has changed the flag.
		_, err := conn.Read(make([]byte, 1))
		if err != io.EOF {
			check(err)
		}
		fmt.Println("blocks", blocks(uintptr(fd)))
	})
}

func receive(path string) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	check(err)
	buffer, control := make([]byte, 4096), make([]byte, 4096)
	for {
		n, m, _, _, err := conn.ReadMsgUnix(buffer, control)
		if errors.Is(err, io.EOF) {
			return
		}
		check(err)
		messages, err := syscall.ParseSocketControlMessage(control[:m])
		check(err)
		if len(messages) == 0 {
			check(fmt.Errorf("%d bytes without descriptors", n))
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		check(err)
		rest := buffer[:n]
		for _, fd := range fds {
			length := binary.LittleEndian.Uint32(rest)
			var stat syscall.Stat_t
			check(syscall.Fstat(fd, &stat))
			fmt.Printf("%d:%d %v %s\n", stat.Dev, stat.Ino, blocks(uintptr(fd)), shown(rest[4:4+length]))
			rest = rest[4+length:]
			check(syscall.Close(fd))
		}
		if len(rest) > 0 {
			check(fmt.Errorf("%d bytes too many", len(rest)))
		}
	}
}

// A map as KEY=TYPE:VALUE, sorted; else the bytes.
func shown(metadata []byte) string {
	if len(metadata) == 0 {
		return "-"
	}
	var meta Meta
	if metadata[0] != 0x14 {
		return string(metadata)
	}
	check(gob.NewDecoder(bytes.NewReader(metadata)).Decode(&meta))
	var pairs []string
	for key, value := range meta {
		pairs = append(pairs, fmt.Sprintf("%s=%T:%v", key, value, value))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, " ")
}
