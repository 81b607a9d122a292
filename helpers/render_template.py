#!/usr/bin/env python3
"""Turn one job file and its template, or one workflow, into what is sent to ComfyUI.

The job is checked, its file inputs are hashed and named, its template is found and
filled in. All problems of a job are told in one run. Nothing is written and nothing
is contacted: the caller gets tagged lines, fields separated by TAB:

    job_id ID | template NAME | timeout_minutes N | timeout_seconds N (rounded up)
    max_cost_usd N                                     empty when the job sets none
    value NAME TEXT                                    an input or --set, for people
    upload BYTES SHA256 UPLOAD_NAME ABSOLUTE_PATH      one per distinct file
    output NAME ABSOLUTE_PATH                          a directory ends in /
    output_dir ABSOLUTE_PATH                           for files no output names
    timings FILE_NAME                                  where its nodes' times are kept
    seed TEXT                                          which runs; NODE=SEED,... when they differ
    warning TEXT
    uploads JSON                                       uploads.json, if all keep their names
    job JSON                                           the resolved job
    finding SEVERITY STALE NODE FIELD TEXT             of the check; STALE 1: may be out of date
    stale 1                                            --object-info should be fetched anew;
                                                       the one line when a problem may be its fault
    source JSON                                        the graph of a workflow that was converted
                                                       by what may be another server's
    workflow JSON                                      what is POSTed as "prompt"
    graph JSON                                         instead, while it can't be converted

A graph (ComfyUI's GUI format) is converted with --object-info, later when there is none:
--graph FILE --job RESOLVED_JOB --object-info FILE then prints timings, seed, warning, finding
and workflow.

Problems go to stderr, one a line, and the exit code is 2.
"""

from __future__ import annotations

import os
import sys

# python3 -I, which keeps the user's working directory out, keeps this directory out as well.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# Not here: Python keeps what it has compiled of a module, but not of a program (4 ms).
import render_job


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 when the job, its template or an option is wrong."""
    return render_job.run(sys.argv[1:] if argv is None else argv, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
