/* SPDX-License-Identifier: MIT */
#include "priv/trust.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int trust_program(const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_errno(err, -errno, "program.missing", "cannot run %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EACCES, "program.no-file", "%s is not a regular file", path);
	if (!(st.st_mode & 0111))
		return error_set(err, -EACCES, "program.not-executable",
			"%s is not executable; run 'chmod +x %s'", path, path);
	/* Security: who can write the program decides what it does with the rights that it is
	 * given. */
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return error_set(err, -EPERM, "program.owner",
			"%s is not run, as it belongs to user %u; chown it to root", path,
			st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return error_set(err, -EPERM, "program.writable",
			"%s is not run, as others than its owner can write it; run 'chmod go-w %s'",
			path, path);
	return 0;
}
