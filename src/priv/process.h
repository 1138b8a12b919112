/* SPDX-License-Identifier: MIT */
/*
 * Facts about processes from /proc (proc(5)). A pid alone names nobody: (pid, start time) does. All
 * return -ESRCH for a process that is gone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Field 22 of /proc/PID/stat. -ESRCH also for a zombie without other threads: nothing of it runs
 * any more. */
int process_start_ticks(pid_t pid, uint64_t *ret);

/* A pidfd for just that process: -ESRCH if it ended or the pid was recycled. The fd is readable
 * once it ended. */
int process_open(pid_t pid, uint64_t start_ticks);

/* The real uid. */
int process_uid(pid_t pid, uid_t *ret);

/* 0 if uid may signal the process, as kill(2) has it: it is root, or the real or the saved uid of
 * the process. Else -EPERM, or -ESRCH. */
int process_check_owner(pid_t pid, uid_t uid);

/* Its name in brackets, as ps shows it, sanitized and cut. (Its command line is for the sensor to
 * read: that can block for as long as the memory map of the process is locked, and a GPU that hangs
 * can keep it locked.) */
int process_name(pid_t pid, char *dst, size_t size);

/* The name, without directories, of the program that it executes, if that is one that the system
 * installed (-EPERM: it is not): what /usr/bin/Xorg executes is "Xorg", whatever it calls itself.
 */
int process_program(pid_t pid, char *dst, size_t size);

/* The path in the v2 hierarchy as /proc/PID/cgroup says it ("/user.slice/..."), without the mount.
 * -EOPNOTSUPP: there is no v2 hierarchy; -ENAMETOOLONG. */
int process_cgroup(pid_t pid, char *dst, size_t size);
