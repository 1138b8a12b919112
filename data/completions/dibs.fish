# SPDX-License-Identifier: MIT
# fish completion for dibs(1)

function __dibs_gpus
    dibs status --json 2>/dev/null | string replace -rf '^ *"index": ([0-9]+),$' '$1'
end

function __dibs_leases
    dibs list --json 2>/dev/null | string replace -rf '^    "id": ([0-9]+),$' '$1'
end

# The verb that was typed is one of these.
function __dibs_verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

# "admin" and one of these.
function __dibs_admin
    set -l words (commandline -opc)
    test (count $words) -ge 3; and test $words[2] = admin; and contains -- $words[3] $argv
end

function __dibs_no_verb
    test (count (commandline -opc)) -eq 1
end

function __dibs_no_admin_verb
    set -l words (commandline -opc)
    test (count $words) -eq 2; and test $words[2] = admin
end

# Behind "run" or "exec ID" and their options stands somebody else's command line.
function __dibs_run_command
    set -l words (commandline -opc) (commandline -ct)
    set -l is_exec (test $words[2] = exec; and echo yes)
    set -e words[1..2]
    while set -q words[1]; and string match -q -- '-*' $words[1]
        switch $words[1]
            case --
                set -e words[1]
                break
            case -g --gpus --gpu --type --min-memory --wait --note -t --time --visible --socket --color
                set -e words[1]
        end
        set -e words[1]
    end
    if test -n "$is_exec"
        set -e words[1]
        test "$words[1]" = --; and set -e words[1]
    end
    set -q words[1]; or return
    complete -C (string join ' ' -- (string escape -- $words[1..-2]) $words[-1])
end

complete -c dibs -f
complete -c dibs -n __dibs_no_verb -a status -d 'Show the GPUs, who has them and who waits'
complete -c dibs -n __dibs_no_verb -a run -d 'Wait for GPUs, run a command on them'
complete -c dibs -n __dibs_no_verb -a reserve -d 'Hold GPUs for a time'
complete -c dibs -n __dibs_no_verb -a submit -d 'Queue a job, and go home'
complete -c dibs -n __dibs_no_verb -a logs -d 'Show what a job printed'
complete -c dibs -n __dibs_no_verb -a cancel -d 'Take jobs out of the queue, or end them'
complete -c dibs -n __dibs_no_verb -a hold -d 'Keep waiting jobs from starting'
complete -c dibs -n __dibs_no_verb -a resume -d 'Let held or suspended jobs go on'
complete -c dibs -n __dibs_no_verb -a requeue -d 'End running jobs, and queue them anew'
complete -c dibs -n __dibs_no_verb -a suspend -d 'Freeze running jobs, and free their GPUs'
complete -c dibs -n __dibs_no_verb -a wait -d 'Wait for jobs to end'
complete -c dibs -n __dibs_no_verb -a exec -d 'Run a command inside of a lease of yours'
complete -c dibs -n __dibs_no_verb -a extend -d 'Keep a hold, or let a run go on, for longer'
complete -c dibs -n __dibs_no_verb -a release -d 'Give GPUs back, or leave the queue'
complete -c dibs -n __dibs_no_verb -a shrink -d 'Give some GPUs of a lease back, and keep the others'
complete -c dibs -n __dibs_no_verb -a give -d 'Hand a hold to a colleague'
complete -c dibs -n __dibs_no_verb -a gpus -d 'Show the GPUs of a lease of yours, also for scripts'
complete -c dibs -n __dibs_no_verb -a list -d 'List your leases'
complete -c dibs -n __dibs_no_verb -a queue -d 'List who waits, in order'
complete -c dibs -n __dibs_no_verb -a show -d 'Show one lease and its journal'
complete -c dibs -n __dibs_no_verb -a history -d 'List leases that have ended'
complete -c dibs -n __dibs_no_verb -a report -d 'Sum up who held how much, used it, and waited'
complete -c dibs -n __dibs_no_verb -a admin -d 'For administrators'
complete -c dibs -n __dibs_no_verb -a doctor -d 'Say what is wrong with dibs on this host'
complete -c dibs -n __dibs_no_verb -a selftest -d 'Prove that the guard keeps others off'
complete -c dibs -n __dibs_no_admin_verb -a 'drain undrain release guard sensor import'

complete -c dibs -l socket -r -F -d 'Where dibsd listens'
complete -c dibs -l color -x -a 'auto always never' -d 'Colours'
complete -c dibs -s h -l help -d Help
complete -c dibs -s V -l version -d Version

complete -c dibs -n '__dibs_no_verb; or __dibs_verb status reserve submit wait gpus list queue show history report doctor selftest' -s j -l json -d 'JSON for programs'
complete -c dibs -n '__dibs_no_verb; or __dibs_verb status' -s w -l watch -d 'Show every change'

complete -c dibs -n '__dibs_verb run reserve submit' -s g -l gpus -x -d 'How many GPUs'
complete -c dibs -n '__dibs_verb run reserve submit' -l gpu -x -a '(__dibs_gpus)' -d 'Just these'
complete -c dibs -n '__dibs_verb run reserve submit' -l type -x -d 'A part of the model name'
complete -c dibs -n '__dibs_verb run reserve submit' -l min-memory -x -a '16G 24G 40G 80G' -d 'Cards of at least this size'
complete -c dibs -n '__dibs_verb run reserve' -l wait -x -a '30m 1h 4h 8h' -d 'Wait for so long at most'
complete -c dibs -n '__dibs_verb run reserve' -l no-wait -d 'Now or not at all'
complete -c dibs -n '__dibs_verb run reserve submit' -l note -x -d 'What it is for'
complete -c dibs -n '__dibs_verb run submit' -s t -l time -x -a '30m 1h 4h 8h' -d 'End the command after this time'
complete -c dibs -n '__dibs_verb run exec' -l visible -x -a 'uuid index' -d 'Name GPUs to the command by'
complete -c dibs -n '__dibs_verb run exec' -a '(__dibs_run_command)'
complete -c dibs -n '__dibs_verb submit' -F
complete -c dibs -n '__dibs_verb submit' -l name -x -d 'What the job is called'
complete -c dibs -n '__dibs_verb submit' -s o -l output -r -F -d 'Its output'
complete -c dibs -n '__dibs_verb submit' -s e -l error -r -F -d 'Its standard error'
complete -c dibs -n '__dibs_verb submit' -l chdir -x -a '(__fish_complete_directories)' -d 'Start in this directory'
complete -c dibs -n '__dibs_verb submit' -l env-setup -x -d 'A line of shell before'
complete -c dibs -n '__dibs_verb submit' -l venv -x -a '(__fish_complete_directories)' -d 'Activate this Python environment'
complete -c dibs -n '__dibs_verb submit' -l no-venv -d 'Activate none'
complete -c dibs -n '__dibs_verb submit' -l env -x -a '(set -xn)' -d 'With this variable'
complete -c dibs -n '__dibs_verb submit' -l no-env -d 'Without the variables of this shell'
complete -c dibs -n '__dibs_verb submit' -l after -x -a '(__dibs_leases)' -d 'When that job ended'
complete -c dibs -n '__dibs_verb submit' -l array -x -d 'One job for each number'
complete -c dibs -n '__dibs_verb submit' -l begin -x -a '+1h 20:00 tomorrow' -d 'Not before'
complete -c dibs -n '__dibs_verb submit' -l hold -d 'Wait until it is resumed'
complete -c dibs -n '__dibs_verb submit' -l retries -x -d 'Start it again if it fails'
complete -c dibs -n '__dibs_verb submit' -l on-limit -x -a 'kill requeue suspend' -d 'At its time limit'
complete -c dibs -n '__dibs_verb submit' -l grace -x -a '30s 1m 5m' -d 'Between TERM and KILL'
complete -c dibs -n '__dibs_verb submit' -l signal -x -a 'USR1@5m TERM@1m' -d 'A signal before its time limit'
complete -c dibs -n '__dibs_verb submit' -l nice -x -d 'Let others go first'
complete -c dibs -n '__dibs_verb submit' -l mem -x -a '4G 8G 16G 24G' -d 'Share a GPU by memory'
complete -c dibs -n '__dibs_verb submit' -l exclusive -d 'Share its GPUs with nobody'
complete -c dibs -n '__dibs_verb submit' -l wait-for -d 'Wait for its end'
complete -c dibs -n '__dibs_verb logs' -s f -l follow -d 'Show what is added'
complete -c dibs -n '__dibs_verb logs' -s n -l tail -x -d 'Only the last lines'
complete -c dibs -n '__dibs_verb cancel' -l signal -x -a 'INT TERM USR1 USR2' -d 'Send this signal'
complete -c dibs -n '__dibs_verb history report' -l since -x -a '1d 7d 30d' -d 'Not over by then'
complete -c dibs -n '__dibs_verb history' -l user -x -a '(__fish_complete_users)' -d 'Of this user'
complete -c dibs -n '__dibs_verb history' -l limit -x -d 'So many at most'
complete -c dibs -n '__dibs_verb report' -l until -x -d 'Up to then'
complete -c dibs -n '__dibs_verb report' -l days -x -d 'The last days'
complete -c dibs -n '__dibs_verb report' -l by -x -a 'user group gpu type kind' -d 'A row for each'
complete -c dibs -n '__dibs_verb report' -l csv -d 'For spreadsheets'
complete -c dibs -n '__dibs_verb reserve' -l force -d 'Also GPUs in foreign use'
complete -c dibs -n '__dibs_verb reserve' -s d -l duration -x -a '30m 1h 4h 8h 1d' -d 'Hold them for so long'
complete -c dibs -n '__dibs_verb reserve' -l short -d 'Print the indices and nothing else'
complete -c dibs -n '__dibs_verb reserve' -l adopt -x -a '(__fish_complete_pids)' -d 'The GPUs that these processes of yours use'
complete -c dibs -n '__dibs_verb shrink' -l gpu -x -a '(__dibs_gpus)' -d 'The GPUs that are given back'
complete -c dibs -n '__dibs_verb give' -a '(__dibs_leases) (__fish_complete_users)'
complete -c dibs -n '__dibs_verb gpus' -l uuid -d 'Print their UUIDs'
complete -c dibs -n '__dibs_verb gpus' -l index -d 'Print their indices'
complete -c dibs -n '__dibs_verb gpus' -l docker -d 'Print what docker run needs'
complete -c dibs -n '__dibs_verb gpus' -l cdi -d 'The same as names of CDI'
complete -c dibs -n '__dibs_verb release' -l gpu -x -a '(__dibs_gpus)' -d 'Your leases on these GPUs'
complete -c dibs -n '__dibs_verb release' -s a -l all -d 'All that is yours'
complete -c dibs -n '__dibs_verb list history' -s a -l all -d 'Those of everybody'
complete -c dibs -n '__dibs_verb extend release shrink gpus show logs cancel hold resume requeue suspend wait' -a '(__dibs_leases)'
complete -c dibs -n '__dibs_admin drain undrain' -a '(__dibs_gpus)'
complete -c dibs -n '__dibs_admin drain release' -l reason -x -d Why
complete -c dibs -n '__dibs_admin guard' -a 'off watch deny configured'
complete -c dibs -n '__dibs_admin sensor' -a 'pause resume'
complete -c dibs -n '__dibs_admin import' -F -a 'canhazgpu gpulocker'
complete -c dibs -n '__dibs_admin import' -l redis -x -a 'localhost:6379' -d 'Where canhazgpu keeps its state'
complete -c dibs -n '__dibs_admin import' -l db -x -d 'In which database of that Redis'
complete -c dibs -n '__dibs_admin import' -l dry-run -d 'Only say what would be imported'
