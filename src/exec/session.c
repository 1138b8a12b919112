/* SPDX-License-Identifier: MIT */
#include "exec/session.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <security/pam_appl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"

/* Security: who has a session keyring in common has all keys in it, whoever they belong to; and
 * ours is that of all other supervisors, or of the shell from which root started dibsd. */
void session_isolate(uid_t uid, gid_t gid)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0)
		syscall(SYS_keyctl, KEYCTL_CHOWN, KEY_SPEC_SESSION_KEYRING, uid, gid);
}

/* The last message of an error is the reason of a refusal; there is nobody to answer a question. */
static int converse(
	int n, const struct pam_message **messages, struct pam_response **ret, void *userdata)
{
	struct session *session = userdata;

	for (int i = 0; i < n; i++) {
		if (messages[i]->msg_style == PAM_ERROR_MSG)
			text_copy(session->message, sizeof(session->message), messages[i]->msg);
		else if (messages[i]->msg_style != PAM_TEXT_INFO)
			return PAM_CONV_ERR;
	}
	*ret = calloc((size_t)n, sizeof(**ret)); /* of the module, also if it is nothing */
	return *ret ? PAM_SUCCESS : PAM_BUF_ERR;
}

static int refuse(struct session *session, int code, const char *what, struct error *err)
{
	error_set(err, -EACCES, "session.refused", "PAM does not %s: %s%s%s", what,
		pam_strerror(session->pam, code), *session->message ? ": " : "", session->message);
	pam_end(session->pam, code);
	session->pam = NULL;
	return -EACCES;
}

int session_open(struct session *session, const char *service, const char *user, struct error *err)
{
	const struct pam_conv conv = { converse, session };
	int code = pam_start(service, user, &conv, &session->pam);

	if (code != PAM_SUCCESS) {
		session->pam = NULL;
		return error_set(err, -EIO, "session.start", "PAM cannot be used: code %d", code);
	}
	/* Some modules insist on a terminal; cron and sshd name themselves, too. */
	pam_set_item(session->pam, PAM_TTY, "dibs");
	code = pam_acct_mgmt(session->pam, PAM_SILENT);
	if (code != PAM_SUCCESS)
		return refuse(session, code, "let the user in", err);
	/* It fails where the service has nothing to log in with, as ours: no harm. */
	pam_setcred(session->pam, PAM_ESTABLISH_CRED | PAM_SILENT);
	code = pam_open_session(session->pam, PAM_SILENT);
	if (code != PAM_SUCCESS) {
		pam_setcred(session->pam, PAM_DELETE_CRED | PAM_SILENT);
		return refuse(session, code, "open a session", err);
	}
	session->environment = pam_getenvlist(session->pam);
	return 0;
}

void session_close(struct session *session)
{
	int code;

	if (!session->pam)
		return;
	code = pam_close_session(session->pam, PAM_SILENT);
	pam_setcred(session->pam, PAM_DELETE_CRED | PAM_SILENT);
	pam_end(session->pam, code);
	session->pam = NULL;
	for (char **e = session->environment; e && *e; e++)
		free(*e);
	free(session->environment);
	session->environment = NULL;
}
