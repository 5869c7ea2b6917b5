"""MPI and OpenMP: the imports link, calling one ends the call and says why (spec 2.9)."""

from __future__ import annotations

from guesthouse.engine import HostFunction
from guesthouse.interfaces.faasm.rows import refused

#: Functions of MPI by the number of their (i32) parameters; all return an int.
_MPI = {
    0: "Finalize",
    1: "Barrier Comm_c2f Comm_f2c Comm_free Op_free Request_free Type_commit Type_free Free_mem "
    "Win_free Initialized Finalized Query_thread Group_free",
    2: "Init Get_version Comm_size Comm_rank Comm_dup Abort Get_processor_name Type_size Wait "
    "Win_fence Comm_group",
    3: "Get_count Waitall Alloc_mem Type_contiguous Cart_rank Op_create Comm_create",
    4: "Comm_split Probe Waitany Win_get_attr Group_incl Comm_create_group Init_thread",
    5: "Bcast Cart_get Cart_shift Comm_split_type Win_shared_query",
    6: "Send Rsend Allreduce Scan Cart_create Win_create Reduce_scatter Win_allocate_shared",
    7: "Isend Recv Irecv Reduce Allgather Alltoall",
    8: "Scatter Gather Allgatherv Get Put",
    9: "Alltoallv Gatherv",
    12: "Sendrecv",
}

#: Functions of the OpenMP runtime: name, parameters, results.
_OPENMP = (
    ("__kmpc_fork_call", "iiii", ""),
    ("__kmpc_for_static_init_4", "iiiiiiiii", ""),
    ("__kmpc_for_static_init_8", "iiiiiiiII", ""),
    ("__kmpc_for_static_fini", "ii", ""),
    ("__kmpc_barrier", "ii", ""),
    ("__kmpc_critical", "iii", ""),
    ("__kmpc_end_critical", "iii", ""),
    ("__kmpc_master", "ii", "i"),
    ("__kmpc_end_master", "ii", ""),
    ("__kmpc_single", "ii", "i"),
    ("__kmpc_end_single", "ii", ""),
    ("__kmpc_flush", "i", ""),
    ("__kmpc_push_num_threads", "iii", ""),
    ("__kmpc_global_thread_num", "i", "i"),
    ("__kmpc_reduce", "iiiiiii", "i"),
    ("__kmpc_reduce_nowait", "iiiiiii", "i"),
    ("__kmpc_end_reduce", "iii", ""),
    ("__kmpc_end_reduce_nowait", "iii", ""),
    ("omp_get_thread_num", "", "i"),
    ("omp_get_num_threads", "", "i"),
    ("omp_get_max_threads", "", "i"),
    ("omp_get_level", "", "i"),
    ("omp_get_max_active_levels", "", "i"),
    ("omp_get_wtime", "", "F"),
    ("omp_get_num_devices", "", "i"),
    ("omp_set_num_threads", "i", ""),
    ("omp_set_max_active_levels", "i", ""),
    ("omp_set_default_device", "i", ""),
)

ROWS: tuple[HostFunction, ...] = (
    *refused(
        (
            *((f"MPI_{name}", "i" * count, "i") for count, names in _MPI.items() for name in names.split()),
            ("MPI_Wtime", "", "F"),
        ),
        "MPI is not offered; chain functions and share state instead",
    ),
    *refused(_OPENMP, "OpenMP is not offered; use pthreads or chained functions"),
)
