/* SPDX-License-Identifier: MIT */
#include "priv/become.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

int become_user(uid_t uid, gid_t gid)
{
	return setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

/* Security: asks the kernel instead of believing that what was asked for has happened. */
int become_check(uid_t uid, gid_t gid)
{
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
		return -errno;
	if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid)
		return -EPERM;
	if (setresuid(0, 0, 0) == 0 || (gid != 0 && setresgid(0, 0, 0) == 0))
		return -EPERM;
	return 0;
}

void become_default_signals(void)
{
	sigset_t none;

	/* Fails for KILL, STOP and those that libc keeps for itself: nothing to reset there. */
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
