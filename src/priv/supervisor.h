/* SPDX-License-Identifier: MIT */
/*
 * Between dibsd and dibs-exec, the supervisor of one batch job. One direction each, both of them
 * made so that dibsd may die, be upgraded and come back at any moment:
 *
 *   order    what to do, a sealed memfd: fields "key=value", each ended by a NUL.
 *            Those of dibsd come first, then the field "user" (without "="), then the spec, which
 *            holds nothing but what its user may say. An order that is cut short starts nothing:
 *            it ends with the field "end".
 *   record   what has happened. A file STATE/jobs/ID.ATTEMPT that the supervisor makes (O_EXCL,
 *            mode 0600) before it does anything, holds locked (flock, exclusive) as long as it
 *            lives, and appends lines to. Two supervisors for one attempt cannot be: the second
 *            finds the file and exits. What is in the file is the truth, also when nobody saw it
 *            being written. A last line without its newline is to be ignored.
 *
 * With the field do=suspend or do=resume (before "user") the program is no supervisor but does just
 * that with the processes of a running job (see exec/checkpoint.h), says "done", "failed SENTENCE"
 * or "broken SENTENCE" in one line on the descriptor that supervisor_start() returned, and exits.
 * Fields then: id, cgroup, tool=PATH (cuda-checkpoint), pid=N (each process that uses a GPU),
 * node=MAJOR:MINOR (each device that has to become free), timeout_us=N.
 *
 * Fields of dibsd, each once, unless it says otherwise. Those with a "!" must be there:
 *   id=42!  attempt=0!  uid=1000!  name=NAME!  host=NAME!
 *   array=41  index=7      elements only
 *   record=PATH!           absolute
 *   cgroup=PATH            absolute, exists; where the command goes. Absent: there are no cgroups;
 *                          signals to the supervisor are then handed on to the process group of
 *                          the command, which is killed when the supervisor dies
 *   pam=SERVICE            absent, or without root: no PAM
 *   start_timeout_us=N     what has not become the user's command (or the shell that evaluates its
 *                          setup) by then has failed; absent: a minute
 *   processes_max=N        RLIMIT_NPROC of the command, which counts all processes of its user;
 *                          absent: as it is
 *   gpuenv=NAME=VALUE      any number; stands above everything the user says
 * Fields of the user (the spec):
 *   arg=TEXT               one or more: the command line
 *   env=NAME=VALUE         any number; HOME, USER, LOGNAME, SHELL and PATH are added if missing
 *   dir=PATH               absolute: where it starts; absent: the home directory
 *   out=PATTERN            see base/pattern.h; relative to dir; absent: "dibs-%j.log", for elements
 *                          "dibs-%A_%a.log"
 *   err=PATTERN            absent: the same as out
 *   setup=SHELL            commands for the shell before, such as "module load cuda"; if the last
 *                          of them fails, the job ends with that status
 *   venv=DIR               activates DIR; empty: none; absent: "venv" of the home directory if it
 *                          is there
 *   script=TEXT            is the program itself; arg are its arguments, arg[0] its name
 *   umask=OCTAL            absent: that of the PAM session, or 022
 *   limit=NAME:SOFT        any number; NAME as in prlimit(1), lower case; SOFT a number or
 *                          "unlimited"; only lowered to the hard limit, never above
 *
 * Lines of the record:
 *   supervisor PID START_TICKS
 *   log OFFSET PATH        the log is open; it had OFFSET bytes
 *   running PID            the command was executed
 *   memory SENTENCE        "out of memory ...", right before "exit" or "signal"
 *   exit STATUS | signal N | failed SENTENCE      the end; at most one of them, and the last line
 * Names that begin with a dot in that directory are records that are being made.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "priv/fields.h" /* writes orders */
#include "priv/record.h" /* reads records */

#define SUPERVISOR_ORDER_MAX (256 * 1024) /* bytes of an order, the spec among them */

/*
 * Starts a supervisor with that order. socket: where "dibs-exec --listen" may be waiting (so that
 * supervisors are no children of a confined service); if nobody is there, or it is NULL, program
 * is started as a child, in a session of its own, that outlives us (*ret_pid; else 0). Returns a
 * descriptor (non-blocking) that becomes readable when the supervisor has made its record, and is
 * at its end when the record has its end, the supervisor was killed, or it could not be started.
 * (It lives a little longer than that, at most half a minute, to close the PAM session.) Does not
 * wait for it, and never blocks: the order travels as a sealed memfd. -EAGAIN: too many are being
 * started; program NULL: only by the socket (-ENOENT or -ECONNREFUSED: nobody is there).
 */
int supervisor_start(const char *socket, const char *program, const char *order, size_t size,
	pid_t *ret_pid, struct error *err);
