package config

// Example is a file to start from: everything there is, with what it is for.
// What is commented out shows the default, or a choice.
const Example = `# Tidemark's configuration: which databases there are, where they are archived,
# and what is done to them when. Check it with: tidemark config validate
# See what is in force, and where each value came from: tidemark config show
#
# A setting comes from the command line before the environment before this file
# before the default. Relative paths start at this file's directory.
version: 1

# Where plans, records of jobs and the heads last seen are kept.
# state_dir: /var/lib/tidemark

# The clock of the schedules below: a zone such as Europe/Berlin, UTC or local.
# timezone: local

# What 'tidemark run' logs.
# log:
#   level: info        # debug, info, warn or error
#   format: auto       # auto, text or json

# What holds for every database that does not say otherwise itself. A database's
# own list (of one kind of schedule, of hooks) replaces the one here.
defaults:
  # How old the last moment that can be restored may become.
  rpo_goal: 60s

  capture:
    flush_bytes: 8MiB      # publish when so many bytes are waiting,
    flush_age: 1s          # or when a change has waited this long
    coverage_every: 10s    # while nothing changes, say so this often
    # When the archive can't be reached: keep the log however long it gets,
    # block commits, or detach (let the log go: a gap, and a new base later).
    # on_archive_lag: detach
    # lag_bytes: 20GiB     # block or detach when more log than this waits,
    # lag_age: 48h         # or when it has waited this long

  # every: 6h is so long after the last time; at: is a time of day, on all days
  # or on some. A time that the clocks skip in spring is due at the end of the
  # skip; one that comes twice in autumn is due the first time.
  schedules:
    snapshot: {every: 24h}
    verify:
      - {at: "03:10", level: objects}
      - {at: "Sun 05:00", level: records}
    drill: {at: "Sun 04:00"}

  # Who is told of what. run is a command, without a shell: it gets the event as
  # JSON on its standard input, and as TIDEMARK_EVENT, TIDEMARK_DATABASE … in its
  # environment. post is a URL, https or on this machine, that gets the JSON.
  # on: capture-started, capture-stopped, capture-failed, capture-fenced,
  # capture-forked, tail-put-back, gap-declared, snapshot-ok, snapshot-failed,
  # verify-ok, verify-failed, drill-ok, drill-failed, rpo-exceeded, rpo-ok,
  # restore-done, or all.
  hooks: []
  # - on: [capture-failed, capture-fenced, gap-declared, verify-failed, drill-failed, rpo-exceeded]
  #   run: [/usr/local/bin/page, --urgent]
  #   timeout: 30s
  # - on: all
  #   post: https://example.org/tidemark
  #   token_file: /etc/tidemark/hook-token   # sent as a bearer token

databases:
  # The name stands for the database and its archive in every command:
  #   tidemark status shop
  shop:
    # A database that 'tidemark run' captures. Leave it out when an application
    # has the database open: only that can capture it, with the library.
    source: embedded:/var/lib/shop/shop.db
    archive: dir:/backup/shop
    # The archive's identity, as 'tidemark init' prints it: any other archive at
    # that place is refused.
    # repo: 0123456789abcdef0123456789abcdef
    # timeline: main
`
