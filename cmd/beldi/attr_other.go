//go:build !linux

package main

import "syscall"

// childAttr: a process group of its own, so that helpers of the command can be stopped with it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
