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

# Behind "run" and its options stands somebody else's command line.
function __dibs_run_command
    set -l words (commandline -opc) (commandline -ct)
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
    complete -C (string join ' ' -- (string escape -- $words[1..-2]) $words[-1])
end

complete -c dibs -f
complete -c dibs -n __dibs_no_verb -a status -d 'Show the GPUs, who has them and who waits'
complete -c dibs -n __dibs_no_verb -a run -d 'Wait for GPUs, run a command on them'
complete -c dibs -n __dibs_no_verb -a reserve -d 'Hold GPUs for a time'
complete -c dibs -n __dibs_no_verb -a extend -d 'Keep a hold, or let a run go on, for longer'
complete -c dibs -n __dibs_no_verb -a release -d 'Give GPUs back, or leave the queue'
complete -c dibs -n __dibs_no_verb -a shrink -d 'Give some GPUs of a lease back, and keep the others'
complete -c dibs -n __dibs_no_verb -a give -d 'Hand a hold to a colleague'
complete -c dibs -n __dibs_no_verb -a gpus -d 'Show the GPUs of a lease of yours, also for scripts'
complete -c dibs -n __dibs_no_verb -a list -d 'List your leases'
complete -c dibs -n __dibs_no_verb -a queue -d 'List who waits, in order'
complete -c dibs -n __dibs_no_verb -a show -d 'Show one lease and its journal'
complete -c dibs -n __dibs_no_verb -a admin -d 'For administrators'
complete -c dibs -n __dibs_no_verb -a doctor -d 'Say what is wrong with dibs on this host'
complete -c dibs -n __dibs_no_verb -a selftest -d 'Prove that the guard keeps others off'
complete -c dibs -n __dibs_no_admin_verb -a 'drain undrain release guard sensor'

complete -c dibs -l socket -r -F -d 'Where dibsd listens'
complete -c dibs -l color -x -a 'auto always never' -d 'Colours'
complete -c dibs -s h -l help -d Help
complete -c dibs -s V -l version -d Version

complete -c dibs -n '__dibs_no_verb; or __dibs_verb status reserve gpus list queue show doctor selftest' -s j -l json -d 'JSON for programs'
complete -c dibs -n '__dibs_no_verb; or __dibs_verb status' -s w -l watch -d 'Show every change'

complete -c dibs -n '__dibs_verb run reserve' -s g -l gpus -x -d 'How many GPUs'
complete -c dibs -n '__dibs_verb run reserve' -l gpu -x -a '(__dibs_gpus)' -d 'Just these'
complete -c dibs -n '__dibs_verb run reserve' -l type -x -d 'A part of the model name'
complete -c dibs -n '__dibs_verb run reserve' -l min-memory -x -a '16G 24G 40G 80G' -d 'Cards of at least this size'
complete -c dibs -n '__dibs_verb run reserve' -l wait -x -a '30m 1h 4h 8h' -d 'Wait for so long at most'
complete -c dibs -n '__dibs_verb run reserve' -l no-wait -d 'Now or not at all'
complete -c dibs -n '__dibs_verb run reserve' -l note -x -d 'What it is for'
complete -c dibs -n '__dibs_verb run' -s t -l time -x -a '30m 1h 4h 8h' -d 'End the command after this time'
complete -c dibs -n '__dibs_verb run' -l visible -x -a 'uuid index' -d 'Name GPUs to the command by'
complete -c dibs -n '__dibs_verb run' -a '(__dibs_run_command)'
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
complete -c dibs -n '__dibs_verb list' -s a -l all -d 'Those of everybody'
complete -c dibs -n '__dibs_verb extend release shrink gpus show' -a '(__dibs_leases)'
complete -c dibs -n '__dibs_admin drain undrain' -a '(__dibs_gpus)'
complete -c dibs -n '__dibs_admin drain release' -l reason -x -d Why
complete -c dibs -n '__dibs_admin guard' -a 'off watch deny configured'
complete -c dibs -n '__dibs_admin sensor' -a 'pause resume'
