package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listen opens all listeners, then serves them.
func (s *Server) listen() error {
	if s.o.GRPC == "" && s.o.HTTP == "" && s.o.Socket == "" {
		return errors.New("server: nothing to listen on: give an address or a socket")
	}
	var opened []net.Listener
	open := func(l net.Listener, err error) (net.Listener, error) {
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return nil, err
		}
		opened = append(opened, l)
		return l, nil
	}
	var onTCP, onHTTP, onSocket net.Listener
	var err error
	if s.o.GRPC != "" {
		if onTCP, err = open(s.listenTCP("gRPC", s.o.GRPC)); err != nil {
			return err
		}
		s.addresses.GRPC = onTCP.Addr().String()
	}
	if s.o.HTTP != "" {
		if onHTTP, err = open(s.listenTCP("HTTP", s.o.HTTP)); err != nil {
			return err
		}
		s.addresses.HTTP = onHTTP.Addr().String()
	}
	if s.o.Socket != "" {
		if onSocket, err = open(listenSocket(s.o.Socket)); err != nil {
			return err
		}
		s.addresses.Socket = s.o.Socket
	}
	if onTCP != nil {
		s.serve(onTCP, s.grpc.Serve)
	}
	if onHTTP != nil {
		s.serve(onHTTP, s.http.Serve)
	}
	if onSocket != nil {
		s.serve(onSocket, s.grpc.Serve)
	}
	return nil
}

// listenTCP refuses to be reachable from elsewhere without credentials.
func (s *Server) listenTCP(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("server: listen for %s: %w", what, err)
	}
	// The address that it really has: a name may resolve to anything.
	at, err := netip.ParseAddrPort(l.Addr().String())
	if err == nil && !at.Addr().Unmap().IsLoopback() && s.o.Token == "" {
		err = fmt.Errorf("%s is reachable from other machines and there is no token: set one, or listen on 127.0.0.1", at)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("server: listen for %s on %s: %w", what, address, err)
	}
	return l, nil
}

// listenSocket listens on a Unix socket that only this user can reach. A socket that a dead process left there goes.
func listenSocket(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("server: directory of the socket: %w", err)
	}
	// In /tmp somebody else could have made the directory, and put a socket of theirs in place of ours.
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("server: directory of the socket: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil, fmt.Errorf("server: directory %s of the socket belongs to user %d", dir, st.Uid)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		c, dialErr := net.DialTimeout("unix", path, time.Second)
		if dialErr == nil {
			c.Close()
			return nil, fmt.Errorf("server: listen on %s: another sidecar does", path)
		}
		// A file that is no socket refuses as well: it is not ours to remove.
		at, statErr := os.Lstat(path)
		if errors.Is(dialErr, syscall.ECONNREFUSED) && statErr == nil && at.Mode().Type() == os.ModeSocket {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("server: remove the dead socket: %w", err)
			}
			l, err = net.Listen("unix", path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("server: listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("server: guard the socket: %w", err)
	}
	return l, nil
}
