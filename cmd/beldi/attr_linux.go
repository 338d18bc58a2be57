package main

import "syscall"

// childAttr: a process group of its own, so that helpers of the command can be stopped with it, and death when beldi
// dies, however that happens.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
