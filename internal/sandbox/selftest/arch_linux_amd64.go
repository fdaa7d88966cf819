package selftest

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// archAttempts are those of other system call tables.
func archAttempts() map[string]attempt {
	return map[string]attempt{
		"x32": func(*target) error {
			_, _, no := syscall.RawSyscall(unix.SYS_GETPID|0x40000000, 0, 0, 0)
			return errnoOf(no)
		},
		"int-0x80": func(*target) error { return int80() },
	}
}

// int80 calls getpid by the 32-bit table: mov eax, 20; int 0x80; ret.
func int80() error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3})
	if err := unix.Mprotect(code, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return err
	}
	runtime.LockOSThread()
	at := uintptr(unsafe.Pointer(&code[0]))
	pointer := &at
	call := *(*func())(unsafe.Pointer(&pointer))
	call() // a kernel without that table ends the process
	return nil
}
