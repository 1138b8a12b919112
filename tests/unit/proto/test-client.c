/* SPDX-License-Identifier: MIT */
/*
 * A daemon of one connection: it listens in a folder of its own, and because connecting and sending
 * a small request need nobody to accept, most tests play both ends in turn, in one thread.
 */
#include "proto/client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/text.h"

static char dir[] = "/tmp/dibs-client-XXXXXX";
static char path[64];
static int listener;

static void start_listening(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	text_copy(address.sun_path, sizeof(address.sun_path), path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_INT(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_INT(listen(listener, 8), 0);
}

/* Accepts, reads one request, writes reply (size bytes) and hangs up. */
static void serve(const char *request, const char *reply, size_t size)
{
	_cleanup_(closep) int fd = accept(listener, NULL, NULL);
	_cleanup_(frame_reader_clear) struct frame_reader reader;
	size_t got;
	char *message;

	frame_reader_init(&reader, FRAME_REQUEST_MAX);
	while (!(message = frame_reader_next(&reader, &got)) && frame_reader_fill(&reader, fd) > 0)
		;
	CHECK_STR(message, request);
	CHECK_INT(write_all(fd, reply, size), 0);
}

static void ask(struct client *client, const char *reply, size_t size, struct error *err)
{
	CHECK_INT(client_connect(client, path, err), 0);
	CHECK_INT(client_send(client, "a.B", NULL, false, err), 0);
	serve("{\"method\":\"a.B\"}", reply, size);
}

static void requests_and_replies_pass(void)
{
	static const char replies[] = "{\"parameters\":{\"n\":1},\"continues\":true}\0{}";
	_cleanup_(client_close) struct client client;
	json_auto_t *parameters = json_pack("{s:i}", "id", 7);
	json_auto_t *first = NULL, *second = NULL;
	enum client_exit code = EXIT_FAULT;
	bool continues = false;
	struct error err = {};

	CHECK_INT(client_connect(&client, path, &err), 0);
	CHECK(fcntl(client.fd, F_GETFD) & FD_CLOEXEC);
	CHECK_INT(client_send(&client, "org.dibs.Show", parameters, true, &err), 0);
	CHECK_INT(parameters->refcount, 1);
	serve("{\"method\":\"org.dibs.Show\",\"parameters\":{\"id\":7},\"more\":true}", replies,
		sizeof(replies));
	CHECK_INT(client_receive(&client, &first, &continues, &code, &err), 0);
	CHECK_INT(json_integer_value(json_object_get(first, "n")), 1);
	CHECK(continues);
	CHECK_INT(code, EXIT_OK);
	CHECK_INT(client_receive(&client, &second, &continues, &code, &err), 0);
	CHECK(json_is_object(second));
	CHECK(!continues);
	CHECK(!err.id);
}

static void errors_become_exit_codes_and_sentences(void)
{
	static const struct {
		enum client_exit code;
		const char *reply, *text;
	} cases[] = {
		{ EXIT_INVALID,
			"{\"error\":\"org.dibs.Invalid\",\"parameters\":{\"id\":\"a\",\"message\":"
			"\"9 of 8\"}}",
			"9 of 8" },
		{ EXIT_REFUSED,
			"{\"error\":\"org.dibs.Refused\",\"parameters\":{\"message\":\"not "
			"yours\"}}",
			"not yours" },
		{ EXIT_NOT_FREE,
			"{\"error\":\"org.dibs.NotFree\",\"parameters\":{\"message\":\"\\u001b["
			"31mlater\\n\"}}",
			"?[31mlater?" },
		{ EXIT_FAULT,
			"{\"error\":\"org.dibs.Fault\",\"parameters\":{\"message\":\"100%n\"}}",
			"100%n" },
		{ EXIT_FAULT, "{\"error\":\"org.dibs.Fault\"}",
			"dibsd answered with the error org.dibs.Fault" },
		{ EXIT_INVALID,
			"{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{"
			"\"parameter\":\"count\"}}",
			"dibsd does not accept the parameter 'count' as it was given" },
		{ EXIT_INVALID,
			"{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{"
			"\"parameter\":7}}",
			"dibsd answered with the error org.varlink.service.InvalidParameter" },
		{ EXIT_FAULT,
			"{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{"
			"\"method\":\"org.dibs.New\"}}",
			"dibsd does not know the method 'org.dibs.New'; it may be older than this "
			"command: 'systemctl restart dibsd'" },
		{ EXIT_FAULT, "{\"error\":\"x\\u0007\",\"parameters\":{}}",
			"dibsd answered with the error x?" },
	};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_(client_close) struct client client;
		enum client_exit code = EXIT_OK;
		json_t *reply = NULL;
		bool continues;
		struct error err = {};

		ask(&client, cases[i].reply, strlen(cases[i].reply) + 1, &err);
		CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), -EREMOTEIO);
		CHECK_INT(code, cases[i].code);
		CHECK_STR(err.text, cases[i].text);
		CHECK(err.id && !reply);
	}
}

static void what_is_no_reply_is_a_fault(void)
{
	static const char *const cases[] = { "", "HTTP/1.1 400 Bad Request", "[]", "{\"error\":7}",
		"{\"parameters\":[]}", "{\"a\":1,\"a\":2}" };

	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		_cleanup_(client_close) struct client client;
		enum client_exit code = EXIT_OK;
		json_t *reply = NULL;
		bool continues;
		struct error err = {};

		ask(&client, cases[i], strlen(cases[i]) + 1, &err);
		CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), -EBADMSG);
		CHECK_INT(code, EXIT_FAULT);
		CHECK(strstr(err.text, "Varlink"));
	}
}

static void a_daemon_that_is_silent_is_given_up(void)
{
	const struct timeval soon = { .tv_usec = 10000 };
	_cleanup_(client_close) struct client client;
	enum client_exit code = EXIT_OK;
	json_t *reply = NULL;
	bool continues;
	struct error err = {};

	/* The kernel connects us; nobody answers. */
	CHECK_INT(client_connect(&client, path, &err), 0);
	setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), -ETIMEDOUT);
	CHECK_INT(code, EXIT_UNREACHABLE);
	CHECK(strstr(err.text, "does not answer"));
	closep(&(int){ accept(listener, NULL, NULL) });
}

static void a_daemon_that_vanishes_is_noticed(void)
{
	static const char *const halves[] = { "", "{\"parameters\":{" };

	for (size_t i = 0; i < ELEMENTSOF(halves); i++) {
		_cleanup_(client_close) struct client client;
		enum client_exit code = EXIT_OK;
		json_t *reply = NULL;
		bool continues;
		struct error err = {};

		ask(&client, halves[i], strlen(halves[i]), &err);
		CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), -ECONNRESET);
		CHECK_INT(code, EXIT_UNREACHABLE);
		CHECK(strstr(err.text, "systemctl status dibsd"));
	}
}

/* The daemon's limit on connections: it answers before anything was asked, and hangs up. */
static void the_last_words_of_a_daemon_are_heard(void)
{
	static const char words[] = "{\"error\":\"org.dibs.Refused\",\"parameters\":{\"message\":"
				    "\"too many connections\"}}";

	for (int sent_before_hangup = 0; sent_before_hangup < 2; sent_before_hangup++) {
		_cleanup_(client_close) struct client client;
		enum client_exit code = EXIT_OK;
		json_t *reply = NULL;
		bool continues;
		struct error err = {};
		int fd;

		CHECK_INT(client_connect(&client, path, &err), 0);
		if (sent_before_hangup)
			CHECK_INT(client_send(&client, "a.B", NULL, false, &err), 0);
		fd = accept(listener, NULL, NULL);
		CHECK_INT(write_all(fd, words, sizeof(words)), 0);
		close(fd);
		if (!sent_before_hangup)
			CHECK_INT(client_send(&client, "a.B", NULL, false, &err), 0);
		CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), -EREMOTEIO);
		CHECK_INT(code, EXIT_REFUSED);
		CHECK_STR(err.text, "too many connections");
	}
}

static int answering;

static void answer(int signo)
{
	if (write(answering, "{}", 3) != 3)
		abort();
}

static void a_signal_does_not_disturb_waiting(void)
{
	struct itimerval soon = { .it_value.tv_usec = 20000 };
	struct sigaction action = { .sa_handler = answer }, old;
	_cleanup_(client_close) struct client client;
	json_auto_t *reply = NULL;
	enum client_exit code = EXIT_FAULT;
	bool continues;
	struct error err = {};

	CHECK_INT(client_connect(&client, path, &err), 0);
	answering = accept(listener, NULL, NULL);
	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &soon, NULL);
	CHECK_INT(client_receive(&client, &reply, &continues, &code, &err), 0);
	CHECK_INT(code, EXIT_OK);
	sigaction(SIGALRM, &old, NULL);
	close(answering);
}

static void a_request_has_a_limit(void)
{
	static char note[FRAME_REQUEST_MAX];
	_cleanup_(client_close) struct client client;
	json_auto_t *parameters = NULL;
	struct error err = {};

	memset(note, 'x', sizeof(note) - 1);
	parameters = json_pack("{s:s}", "note", note);
	CHECK_INT(client_connect(&client, path, &err), 0);
	CHECK_INT(client_send(&client, "a.B", parameters, false, &err), -EMSGSIZE);
	CHECK(strstr(err.text, "393216"));
	close(accept(listener, NULL, NULL));
}

static void *serve_once(void *reply)
{
	serve("{\"method\":\"a.B\",\"parameters\":{\"id\":7}}", reply, strlen(reply) + 1);
	return NULL;
}

static void one_call_is_one_function(void)
{
	static char good[] = "{\"parameters\":{\"id\":7}}",
		    bad[] = "{\"error\":\"org.dibs.NotFree\"}";
	json_auto_t *parameters = json_pack("{s:i}", "id", 7), *reply = NULL;
	struct error err = {};
	pthread_t thread;

	setenv("DIBS_SOCKET", path, 1);
	CHECK_INT(pthread_create(&thread, NULL, serve_once, good), 0);
	CHECK_INT(client_call(NULL, "a.B", parameters, &reply, &err), EXIT_OK);
	pthread_join(thread, NULL);
	CHECK(json_equal(reply, parameters));
	CHECK_INT(pthread_create(&thread, NULL, serve_once, bad), 0);
	CHECK_INT(client_call(path, "a.B", parameters, &reply, &err), EXIT_NOT_FREE);
	pthread_join(thread, NULL);
	unsetenv("DIBS_SOCKET");
}

static void no_daemon_says_how_to_start_it(void)
{
	struct client client;
	struct error err = {};
	char missing[80], deaf[80];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	json_t *reply;

	snprintf(missing, sizeof(missing), "%s/missing", dir);
	setenv("DIBS_SOCKET", missing, 1);
	CHECK_INT(client_connect(&client, NULL, &err), -ENOENT);
	CHECK(strstr(err.text, missing));
	CHECK(strstr(err.text, "systemctl start dibsd"));
	client_close(&client);
	CHECK_INT(client_call(NULL, "a.B", NULL, &reply, &err), EXIT_UNREACHABLE);
	unsetenv("DIBS_SOCKET");

	snprintf(deaf, sizeof(deaf), "%s/deaf", dir);
	text_copy(address.sun_path, sizeof(address.sun_path), deaf);
	CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	CHECK_INT(client_connect(&client, deaf, &err), -ECONNREFUSED);
	CHECK(strstr(err.text, "nobody listens"));
	CHECK(strstr(err.text, "systemctl start dibsd"));
	unlink(deaf);
}

static void a_path_that_cannot_be_is_told(void)
{
	struct client client;
	struct error err = {};
	char longest[109];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[108] = '\0';
	CHECK_INT(client_connect(&client, longest, &err), -ENAMETOOLONG);
	CHECK(strstr(err.text, "108 bytes, at most 107"));
	longest[107] = '\0';
	CHECK_INT(client_connect(&client, longest, &err), -ENOENT);
	CHECK_INT(client_connect(&client, "/dev/null/x", &err), -ENOTDIR);
	CHECK(strstr(err.text, "/dev/null/x: Not a directory"));
}

/* Root may use any socket, so root asks as somebody else. */
static void connect_as_nobody(struct error *err)
{
	pid_t pid = fork();
	int status = 1;

	if (pid == 0) {
		struct client client;

		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		_exit(client_connect(&client, path, err) != -EACCES);
	}
	CHECK_INT(waitpid(pid, &status, 0), pid);
	CHECK_INT(status, 0);
}

static void a_socket_without_permission_names_the_group(void)
{
	struct error *err =
		mmap(NULL, sizeof(*err), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct stat st;
	char group[32];

	CHECK_INT(stat(path, &st), 0);
	snprintf(group, sizeof(group), "its group is %u:", (unsigned)st.st_gid);
	chmod(dir, 0711);
	chmod(path, 0);
	connect_as_nobody(err);
	CHECK(strstr(err->text, path));
	CHECK(strstr(err->text, group));
	chmod(dir, 0);
	connect_as_nobody(err);
	CHECK(strstr(err->text, "folder"));
	chmod(dir, 0700);
	munmap(err, sizeof(*err));
}

int main(void)
{
	start_listening();
	TEST(requests_and_replies_pass);
	TEST(errors_become_exit_codes_and_sentences);
	TEST(what_is_no_reply_is_a_fault);
	TEST(a_daemon_that_is_silent_is_given_up);
	TEST(a_daemon_that_vanishes_is_noticed);
	TEST(the_last_words_of_a_daemon_are_heard);
	TEST(a_signal_does_not_disturb_waiting);
	TEST(a_request_has_a_limit);
	TEST(one_call_is_one_function);
	TEST(no_daemon_says_how_to_start_it);
	TEST(a_path_that_cannot_be_is_told);
	TEST(a_socket_without_permission_names_the_group);
	close(listener);
	unlink(path);
	rmdir(dir);
	return tap_done();
}
