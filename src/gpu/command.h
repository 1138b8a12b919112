/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * The command line of a process for show: arguments joined by blanks, sanitized, cut; empty if it
 * has none or may not be seen. Reading it can block while the memory map of the process is locked,
 * which a hanging GPU can cause: for the sensor, which is killed when it is silent, not for the
 * daemon. sysroot stands before /proc; NULL = nothing does.
 */
void command_read(const char *sysroot, pid_t pid, char *dst, size_t size);
