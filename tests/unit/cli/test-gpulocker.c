/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../tap.h"
#include "base/fd.h"
#include "base/text.h"
#include "cli/gpu_dict.h"
#include "cli/gpulocker.h"

static struct env_file env;
static struct gpu_dict dict;
static struct gpulocker_counts counts;
static struct error err;
static char *written;

static int parse(const char *text)
{
	env_file_clear(&env);
	return env_file_parse(text, strlen(text), ".env", &env, &err);
}

static const char *value(const char *name)
{
	const struct env_line *line = env_file_find(&env, name);

	return line ? line->value : NULL;
}

static void lines_are_read_as_they_were(void)
{
	CHECK_INT(parse("# comment\n"
			"A=1\r\n"
			"  B =  two words \n"
			"C='it''s'\n"
			"D=\"x\n"
			"export E=5\n"
			"F=a=b # no comment\n"
			"no setting\n"
			"\n"
			"A=2\n"
			"G=\"\"\n"
			"H='\n"
			"exporter=1"),
		0);
	CHECK_INT(env.n, 9);
	CHECK_STR(value("A"), "2");
	CHECK_INT(env_file_find(&env, "A")->number, 10);
	CHECK_STR(value("B"), "two words");
	CHECK_STR(value("C"), "it''s");
	CHECK_STR(value("D"), "\"x");
	CHECK_STR(value("E"), "5");
	CHECK_STR(value("F"), "a=b # no comment");
	CHECK_STR(value("G"), "");
	CHECK_STR(value("H"), "'");
	CHECK_STR(value("exporter"), "1");
	CHECK(!value("export E") && !value("a"));
	CHECK_INT(parse(""), 0);
	CHECK_INT(env.n, 0);
}

static void what_is_no_file_of_settings(void)
{
	_cleanup_(freep) char *many = NULL;
	size_t size;
	FILE *out = open_memstream(&many, &size);

	CHECK_INT(parse("A=1\nb c=2\n"), -EINVAL);
	CHECK_STR(err.text, ".env:2: 'b c' is not the name of a setting");
	CHECK_INT(parse("=1\n"), -EINVAL);
	CHECK_INT(parse("1A=1\n"), -EINVAL);
	CHECK_INT(env_file_parse("A=1\0B=2", 7, "x", &env, &err), -EINVAL);
	CHECK_STR(err.text, "x is binary, not a file of settings");
	for (int i = 0; i <= ENV_LINES_MAX; i++)
		fprintf(out, "A%d=1\n", i);
	fclose(out);
	CHECK_INT(parse(many), -EINVAL);
	CHECK_STR(err.text, ".env:1001: more than 1000 settings");
}

static void files(void)
{
	char dir[] = "/tmp/test-gpulocker.XXXXXX";
	_cleanup_(closep) int fd = mkdtemp(dir) ? open(dir, O_DIRECTORY | O_CLOEXEC) : -1;
	_cleanup_(freep) char *path = text_format("%s/f", dir);
	_cleanup_(freep) char *fifo = text_format("%s/fifo", dir);
	_cleanup_(closep) int file = openat(fd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && mkfifoat(fd, "fifo", 0600) == 0);
	env_file_clear(&env);
	CHECK_INT(write(file, "A=1\n", 4), 4);
	CHECK_INT(env_file_read(path, &env, &err), 0);
	CHECK_STR(value("A"), "1");
	env_file_clear(&env);
	CHECK_INT(env_file_read(fifo, &env, &err), -EINVAL);
	CHECK_INT(env_file_read(dir, &env, &err), -EINVAL);
	CHECK_INT(env_file_read("/dev/zero", &env, &err), -EINVAL);
	CHECK_INT(ftruncate(file, ENV_FILE_MAX + 1), 0);
	CHECK_INT(env_file_read(path, &env, &err), -EFBIG);
	unlinkat(fd, "f", 0);
	unlinkat(fd, "fifo", 0);
	CHECK_INT(env_file_read(path, &env, &err), -ENOENT);
	rmdir(dir);
}

static void dicts(void)
{
	static const char *const good[] = {
		"{}",
		" { } ",
		"{'A100': [0, 1], 'V100': [4]}",
		"{\"4090\": [1,2,3,4]}",
		"{'a':[],}",
		"{'a' : [ 0 , 255 , ] , }",
		"{'a b/c-1.5 (x)':[007]}",
	};
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"{'a'}",
		"{'a':}",
		"{'a':1}",
		"{'a':[}",
		"{'a':[1}",
		"{'a':[1]",
		"{'a':[1]]",
		"{'a':[1] 'b':[2]}",
		"{'a':[1 2]}",
		"{'a':[,]}",
		"{,}",
		"{'a':[1],,}",
		"{'a':[-1]}",
		"{'a':[1.5]}",
		"{'a':['1']}",
		"{'a':[256]}",
		"{'a':[99999999999999999999]}",
		"{'a':[1,1]}",
		"{'a':[1],'b':[1]}",
		"{'a':[1],'a':[2]}",
		"{'':[1]}",
		"{a:[1]}",
		"{'a\\n':[1]}",
		"{'a\n':[1]}",
		"{'a\":[1]}",
		"{'\xc3\xa4':[1]}",
		"{'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa':[1]}",
		"{'a':[1]} or 1",
		"{'a':range(4)}",
		"{'a':[1],**x}",
		"dict(a=[1])",
		"__import__('os').system('touch /tmp/x')",
		"{'a':[__import__('os').system('true')]}",
	};

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		printf("# %s\n", good[i]);
		CHECK_INT(gpu_dict_parse(good[i], &dict, &err), 0);
	}
	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		printf("# bad %zu\n", i);
		CHECK_INT(gpu_dict_parse(bad[i], &dict, &err), -EINVAL);
		CHECK(strncmp(err.text, "column ", 7) == 0);
	}
	CHECK_INT(gpu_dict_parse("{'A100': [0, 1, 2], 'V100': [5]}", &dict, &err), 0);
	CHECK_INT(dict.n, 2);
	CHECK_STR(dict.types[1].name, "V100");
	CHECK_INT(gpu_set_count(&dict.types[0].gpus), 3);
	CHECK(gpu_set_has(&dict.types[1].gpus, 5));
	CHECK_INT(gpu_dict_parse("{'a':[1], 2}", &dict, &err), -EINVAL);
	CHECK(strncmp(err.text, "column 11: ", 11) == 0);
	CHECK_INT(dict.n, 2);
}

static int write_conf(const char *text, bool has_group)
{
	size_t size;
	FILE *out;
	int r = parse(text);

	free(written);
	written = NULL;
	out = open_memstream(&written, &size);
	if (r == 0)
		r = gpulocker_write(&env, ".env", has_group, out, &counts, &err);
	fclose(out);
	return r;
}

/* Is there this line? */
static bool says(const char *line)
{
	size_t n = strlen(line);

	for (const char *s = written; (s = strstr(s, line)); s++)
		if ((s == written || s[-1] == '\n') && s[n] == '\n')
			return true;
	return false;
}

static void the_first_version(void)
{
	CHECK_INT(write_conf("SECRET_KEY=hush\n"
			     "GPU_CONFIG={'A100': [0, 1, 2, 3], 'V100': [4, 5, 7]}\n"
			     "PRIVILEGED_USERS=admin1,admin2\n"
			     "USER_PENALTY=24\n"
			     "CHECK_FOR_IDLE_GPU=6\n"
			     "HOST=0.0.0.0\n",
			  false),
		0);
	CHECK(says("max-hold = 7d"));
	CHECK(says("default-hold = 1d"));
	CHECK(says("hold-grace = 24h") && strstr(written, "# USER_PENALTY (line 4)\n"));
	CHECK(says("hold-after = never"));
	CHECK(says("mode = deny"));
	CHECK(says("#admin-group = dibs-admin"));
	CHECK(says("#   groupadd --system dibs-admin"));
	CHECK(says("#   for user in admin1 admin2; do usermod -aG dibs-admin \"$user\"; done"));
	CHECK(says("#   GPU 0-3: dibs reserve --type \"A100\""));
	CHECK(says("#   GPU 4-5,7: dibs reserve --type \"V100\""));
	CHECK(strstr(written, "SECRET_KEY (line 1, not shown): "));
	CHECK(!strstr(written, "hush"));
	CHECK_INT(counts.taken, 3);
	CHECK_INT(counts.other, 3);
	CHECK_INT(counts.secret, 1);
}

static void the_present_one(void)
{
	CHECK_INT(write_conf("PRIVILEGED_USERS=\" admin1 , admin2,\"\n"
			     "USER_LOCKOUT_HOURS=2\n"
			     "REVOKE_IDLE_GPU_AFTER_HOURS=8\n"
			     "TELEGRAM_BOT_TOKEN=\"hush\"\n"
			     "PROXY_URL=\"http://u:hush@p\"\n"
			     "MY_PASSWORD=hush\n",
			  true),
		0);
	CHECK(says("hold-after = 8h") && says("hold-grace = 2h"));
	CHECK(says("admin-group = dibs-admin"));
	CHECK(!strstr(written, "groupadd") && !strstr(written, "hush"));
	CHECK(strstr(written, "MY_PASSWORD (line 6): is no setting of GPULocker"));
	CHECK_INT(counts.secret, 2);
	CHECK_INT(counts.unknown, 1);

	CHECK_INT(write_conf("USER_LOCKOUT_HOURS=2\n", true), 0);
	CHECK(says("hold-after = 24h") && !strstr(written, "[daemon]"));
	CHECK_INT(write_conf("MAX_RESERVERVATION_DAYS=3\nMAX_EXTENSION_DAYS=2\n", true), 0);
	CHECK(says("hold-after = 2h") && says("max-hold = 3d") && says("hold-grace = 24h"));
	CHECK_INT(write_conf("", true), 0);
}

static void hostile_values(void)
{
	static const struct {
		const char *text, *error; /* how the sentence begins */
	} bad[] = {
		{ "\nGPU_CONFIG=__import__('os').system('touch /tmp/x')\n",
			".env:2: GPU_CONFIG: column 1: no '{'" },
		{ "PRIVILEGED_USERS=a,$(reboot)\n", ".env:1: PRIVILEGED_USERS: " },
		{ "PRIVILEGED_USERS=-R\n", ".env:1: PRIVILEGED_USERS: " },
		{ "PRIVILEGED_USERS=a b\n", ".env:1: PRIVILEGED_USERS: " },
		{ "PRIVILEGED_USERS=a\rb\n", ".env:1: PRIVILEGED_USERS: " },
		{ "REVOKE_IDLE_GPU_AFTER_HOURS=0\n", ".env:1: REVOKE_IDLE_GPU_AFTER_HOURS must" },
		{ "REVOKE_IDLE_GPU_AFTER_HOURS=-1\n", ".env:1: REVOKE_IDLE_GPU_AFTER_HOURS must" },
		{ "REVOKE_IDLE_GPU_AFTER_HOURS=8 # h\n",
			".env:1: REVOKE_IDLE_GPU_AFTER_HOURS must" },
		{ "MAX_RESERVERVATION_DAYS=3651\n", ".env:1: MAX_RESERVERVATION_DAYS must be a "
						    "number from 1 to 3650" },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
		printf("# %s\n", bad[i].error);
		CHECK_INT(write_conf(bad[i].text, true), -EINVAL);
		CHECK(strncmp(err.text, bad[i].error, strlen(bad[i].error)) == 0);
		CHECK_STR(written, "");
	}
}

int main(void)
{
	TEST(lines_are_read_as_they_were);
	TEST(what_is_no_file_of_settings);
	TEST(files);
	TEST(dicts);
	TEST(the_first_version);
	TEST(the_present_one);
	TEST(hostile_values);
	env_file_clear(&env);
	free(written);
	return tap_done();
}
