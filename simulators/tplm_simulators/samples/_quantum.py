"""Matrices and the propagator of the Haken–Strobl–Reineker model."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tplm_simulators._jit import jit

F64 = NDArray[np.float64]

ORDER = 14
"""Of the Taylor series of a substep, whose norm is 1 at most: the rest is below 10⁻¹²."""


@jit
def _commute(
    bonds: F64, energies: F64, rho: F64, sign: float, damping: float, aside: F64, out: F64
) -> None:
    """Put ±[H, ρ] − Γ (off-diagonals of `aside`) into `out`."""
    n = energies.size
    for row in range(n):
        above, below = (row - 1) % n, (row + 1) % n
        up, down, mine = sign * bonds[above], sign * bonds[row], sign * energies[row]
        for column in range(n):
            out[row, column] = (
                up * rho[above, column]
                + down * rho[below, column]
                + (mine - sign * energies[column]) * rho[row, column]
                - damping * aside[row, column]
            )
        out[row, row] += damping * aside[row, row]
        out[row, 0] -= sign * (bonds[n - 1] * rho[row, n - 1] + bonds[0] * rho[row, 1])
        for column in range(1, n - 1):
            out[row, column] -= sign * (
                bonds[column - 1] * rho[row, column - 1] + bonds[column] * rho[row, column + 1]
            )
        out[row, n - 1] -= sign * (bonds[n - 2] * rho[row, n - 2] + bonds[n - 1] * rho[row, 0])


@jit
def advance(
    real: F64,
    imag: F64,
    bonds: F64,
    energies: F64,
    damping: float,
    step: float,
    substeps: int,
    spread: F64,
) -> None:
    """Carry a Hermitian matrix on by one step of ρ̇ = −i[H, ρ] − Γ (off-diagonals of ρ).

    Real and imaginary part follow Ṡ = [H, A] − Γ S and Ȧ = −[H, S] − Γ A.

    Parameters
    ----------
    real, imag : (site, site)
        S and A, changed in place.
    bonds : (site,)
        Coupling of each site to the next; the last one closes the ring or is zero.
    energies : (site,)
        On the diagonal of H.
    damping
        Γ.
    spread : (2,)
        ∫D dt = MSD/2 and D, changed in place, where the matrix is the velocity: D grows by the
        velocity's correlation with itself at the beginning.
    """
    n = energies.size
    h = step / substeps
    s, a = np.empty_like(real), np.empty_like(imag)
    ds, da = np.empty_like(real), np.empty_like(imag)
    for _ in range(substeps):
        s[:], a[:] = real, imag
        way, d = spread[0], spread[1]
        for k in range(1, ORDER + 1):
            _commute(bonds, energies, a, 1.0, damping, s, ds)
            _commute(bonds, energies, s, -1.0, damping, a, da)
            correlation = 0.0
            for site in range(n):
                correlation += 2 * bonds[site] * a[site, (site + 1) % n] / n
            # terms of the series: each is h/k times the derivative of the one before
            way, d = d * h / k, correlation * h / k
            spread[0] += way
            spread[1] += d
            for row in range(n):
                for column in range(n):
                    s[row, column] = ds[row, column] * h / k
                    a[row, column] = da[row, column] * h / k
                    real[row, column] += s[row, column]
                    imag[row, column] += a[row, column]


def bonds(sites: int, coupling: float, ring: bool) -> F64:
    """Return the coupling of each site to the next, the last one's to the first."""
    found = np.full(sites, coupling)
    if not ring:
        found[-1] = 0.0
    return found


def hamiltonian(energies: F64, bonds: F64) -> F64:
    """Return H as a dense matrix."""
    h = np.diag(energies) + np.diag(bonds[:-1], 1) + np.diag(bonds[:-1], -1)
    h[0, -1] += bonds[-1]
    h[-1, 0] += bonds[-1]
    return np.asarray(h)


def velocity(bonds: F64) -> F64:
    """Return the imaginary part of v = i[H, x]; its real part is zero."""
    v = np.diag(bonds[:-1], 1) - np.diag(bonds[:-1], -1)
    v[-1, 0] += bonds[-1]
    v[0, -1] -= bonds[-1]
    return np.asarray(v)


def liouvillian(energies: F64, bonds: F64, damping: float) -> sp.csc_array:
    """Return the sparse generator that acts on X = Re ρ + Im ρ, row by row.

    As ρ is Hermitian nothing is lost in X, and Ẋ = −[H, Xᵀ] − Γ (off-diagonals of X) is real.
    """
    n = energies.size
    h, one = sp.csr_array(hamiltonian(energies, bonds)), sp.eye_array(n)
    transposed = np.arange(n * n).reshape(n, n).T.ravel()
    commutator = sp.csc_array(sp.kron(h, one) - sp.kron(one, h))[:, transposed]
    damped = damping * (1 - np.eye(n)).ravel()
    return sp.csc_array(-commutator - sp.diags_array(damped))


def propagator(energies: F64, bonds: F64, step: float) -> NDArray[np.complex128]:
    """Return exp(−i H step)."""
    values, vectors = np.linalg.eigh(hamiltonian(energies, bonds))
    return np.asarray((vectors * np.exp(-1j * values * step)) @ vectors.T)
