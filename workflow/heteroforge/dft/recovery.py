"""Known failures of pw.x and what cures them: a table of symptom and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = ["SMEARED", "SYMPTOMS", "Symptom", "diagnose"]

Settings = dict[str, dict]


@dataclass(frozen=True)
class Symptom:
    """A failure that leaves a trace in the log.

    Attributes:
        name: short, for records.
        pattern: regular expression found in the log or CRASH file.
        meaning: for people.
        remedy: changes the namelists (in place) for the next attempt; gets how many times the
            symptom was seen, from 1; returns what it did, or "" when it has nothing left to try.
    """

    name: str
    pattern: str
    meaning: str
    remedy: Callable[[Settings, int], str]


def _more_bands(settings: Settings, times: int) -> str:
    system = settings["system"]
    bands = int(system.get("nbnd", 0))
    if not bands:
        return ""
    system["nbnd"] = int(bands * 1.3) + 2
    return f"nbnd {bands} -> {system['nbnd']}"


def _gentler_mixing(settings: Settings, times: int) -> str:
    electrons = settings["electrons"]
    beta = round(float(electrons.get("mixing_beta", 0.7)) * 0.8**times, 3)
    electrons.update(mixing_beta=beta, mixing_mode="local-TF", electron_maxstep=200)
    return f"mixing_beta {beta}, local-TF, 200 steps, from scratch"


def _other_diagonalisation(settings: Settings, times: int) -> str:
    electrons = settings["electrons"]
    order = ["david", "paro", "cg"]
    place = order.index(electrons.get("diagonalization", "david"))
    if place + 1 == len(order):
        return ""
    electrons["diagonalization"] = order[place + 1]
    return f"diagonalization {order[place]} -> {order[place + 1]}"


def _other_matrices(settings: Settings, times: int) -> str:
    # Some linear-algebra libraries read past the end of matrices of certain sizes.
    bands = int(settings["system"].get("nbnd", 0))
    if times == 1 and bands:
        settings["system"]["nbnd"] = bands + 1
        return f"nbnd {bands} -> {bands + 1}, for matrices of another size"
    return _other_diagonalisation(settings, times)


def _continue(settings: Settings, times: int) -> str:
    return "continued from the last geometry"


def _smearing(settings: Settings, times: int) -> str:
    system = settings["system"]
    width = 2 * float(system.get("degauss", 0.002))
    if width > 0.02:
        return ""
    system.update(occupations="smearing", smearing="gaussian", degauss=width)
    return f"smearing {width} Ry"


def _damped(settings: Settings, times: int) -> str:
    if settings["ions"].get("ion_dynamics") == "damp":
        return ""
    if settings["ions"].get("rattled"):
        settings["ions"].update(ion_dynamics="damp")
        return "ion_dynamics damp"
    settings["ions"]["rattled"] = True
    return "positions rattled by 0.01 Å"


def _bands_then_smearing(settings: Settings, times: int) -> str:
    # Bands that hold the electrons and no more leave nothing to bracket the Fermi energy with.
    return (_more_bands(settings, times) if times == 1 else "") or _smearing(settings, times)


def _no_symmetry(settings: Settings, times: int) -> str:
    if settings["system"].get("nosym"):
        return ""
    settings["system"]["nosym"] = True
    return "nosym"


def _once_more(settings: Settings, times: int) -> str:
    return "once more" if times == 1 else ""


def _fewer_pools(settings: Settings, times: int) -> str:
    return "one pool"


# Order matters: the first pattern that is found decides.
SYMPTOMS = (
    Symptom(
        "too_few_bands",
        r"too few (spin (up|dw) )?bands",
        "too few bands for the electrons",
        _more_bands,
    ),
    Symptom("charge_wrong", r"charge is wrong", "integrated charge is off", _smearing),
    Symptom(
        "fermi_energy",
        r"internal error, cannot bracket Ef",
        "no Fermi energy found: too few bands, or too narrow a smearing",
        _bands_then_smearing,
    ),
    Symptom(
        "diagonalisation",
        r"Error in routine +[cr]diaghg|problems computing cholesky|S matrix not positive definite|"
        r"too many bands are not converged|eigenvectors failed to converge|"
        # In iterations of a density that is what the next ones are for.
        r"Band Structure Calculation[\s\S]*eigenvalues not converged",
        "diagonalisation failed",
        _other_diagonalisation,
    ),
    Symptom(
        "bfgs",
        r"bfgs failed|history already reset",
        "BFGS lost its way",
        _damped,
    ),
    Symptom(
        "symmetry",
        r"not orthogonal operation|lone vector",
        "symmetry of the cell changed",
        _no_symmetry,
    ),
    Symptom(
        "pools",
        # That some nodes have none is a warning, of a run that goes on.
        r"invalid number of pools|Error in routine +divide_et_impera",
        "more pools than k-points",
        _fewer_pools,
    ),
    Symptom(
        "scf_not_converged",
        r"convergence NOT achieved",
        "density did not converge",
        _gentler_mixing,
    ),
    Symptom(
        "steps_exhausted",
        r"maximum number of steps has been reached",
        "relaxation ran out of steps",
        _continue,
    ),
    Symptom(
        "killed",
        # Of MPI it can be a warning, in a run that goes on.
        r"^(?![\s\S]*JOB DONE)[\s\S]*"
        r"(insufficient virtual memory|Cannot allocate memory|std::bad_alloc)",
        "out of memory",
        _continue,
    ),
    Symptom("out_of_time", r"Maximum CPU time exceeded", "walltime used up", _continue),
    Symptom(
        "crashed",
        r"SIGSEGV|SIGBUS|SIGFPE|SIGILL|Segmentation fault",
        "pw.x or a library it uses crashed",
        _other_matrices,
    ),
    # Errors without a remedy: what a hiccup may have caused has a second chance, and a wrong input
    # is not tried five times.
    Symptom("stopped", r"Error in routine", "pw.x stopped itself", _once_more),
    Symptom(
        "runtime_error",
        r"Fortran runtime error|forrtl: severe",
        "stopped by its Fortran library",
        _once_more,
    ),
    Symptom(
        "killed", r"^(?!.*JOB DONE).*\Z", "ended without a word: killed or out of memory", _continue
    ),
)


# Of a run that went well, with more smearing than its protocol.
SMEARED = Symptom(
    "smeared", "", "converges with more smearing than the protocol's alone", _continue
)

_ERROR = re.compile(r"Error in routine +(\S+) +\(.*?\):[ \t]*\n\s*(\S.*)")
_RUNTIME_ERROR = re.compile(r"Fortran runtime error:?[^\n]*|forrtl: severe[^\n]*")


def diagnose(log: str) -> Symptom | None:
    """The first symptom found in a log, None when the run ended well (JOB DONE, converged).

    Of an error that is not in the table the meaning is what pw.x, or its library, said.
    """
    for symptom in SYMPTOMS[:-1]:
        if re.search(symptom.pattern, log):
            if symptom.name == "stopped" and (said := _ERROR.search(log)):
                return replace(symptom, meaning=f"{said[1]}: {said[2].strip()}")
            if symptom.name == "runtime_error":
                return replace(symptom, meaning=_RUNTIME_ERROR.search(log)[0].strip())
            return symptom
    return None if "JOB DONE" in log else SYMPTOMS[-1]
