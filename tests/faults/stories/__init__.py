"""The stories: each way through the daemon that makes something durable, as short as can be."""

from __future__ import annotations

from tests.faults.stories.authorities import Retire, Rotate
from tests.faults.stories.births import (
    BuildElsewhere,
    BuildInVain,
    ChangeOfMind,
    Create,
    CreateStopped,
    CreateThree,
    FindNoRoom,
    Probe,
)
from tests.faults.stories.commands import KillCommand, RunCommand
from tests.faults.stories.fleet import (
    AbortDrain,
    AcceptIdentity,
    AddHost,
    Cordon,
    Drain,
    EditHost,
    FirstStart,
    LoseHost,
    RemoveHost,
    UndoDrain,
)
from tests.faults.stories.images import Clone, Evict, Prefetch, Remove, TakeIn
from tests.faults.stories.layers import LAYER_STORIES
from tests.faults.stories.lives import (
    Destroy,
    Expire,
    ExpireToImage,
    ExpireToStop,
    Extend,
    Fail,
    Forgotten,
    Lose,
    Pause,
    Resume,
    Retry,
    Start,
    StepClock,
    Stop,
    StopByForce,
)
from tests.faults.stories.losses import Adopt, Forget, Heal, Reap, Reappear, Rebuild
from tests.faults.stories.moves import REAL_MOVES, DrainAway, MoveAway
from tests.faults.stories.playbooks import Author
from tests.faults.stories.snapshots import (
    DeleteSnapshot,
    DestroyWithSnapshot,
    GoBack,
    MakeSnapshot,
    SnapInVain,
)
from tests.faults.stories.source_vms import PrepareSource
from tests.faults.story import Story

STORIES: tuple[type[Story], ...] = (
    FirstStart,
    Create,
    CreateThree,
    ChangeOfMind,
    CreateStopped,
    FindNoRoom,
    BuildInVain,
    Probe,
    BuildElsewhere,
    Stop,
    StopByForce,
    Start,
    Destroy,
    Extend,
    Expire,
    ExpireToImage,
    ExpireToStop,
    ExpireToImage,
    Forgotten,
    Fail,
    Retry,
    Lose,
    Pause,
    Resume,
    Reappear,
    Heal,
    Forget,
    Rebuild,
    Adopt,
    Reap,
    StepClock,
    Drain,
    AbortDrain,
    UndoDrain,
    Cordon,
    EditHost,
    AddHost,
    RemoveHost,
    AcceptIdentity,
    LoseHost,
    TakeIn,
    Prefetch,
    Clone,
    Evict,
    Remove,
    Author,
    Rotate,
    Retire,
    MakeSnapshot,
    GoBack,
    DeleteSnapshot,
    DestroyWithSnapshot,
    SnapInVain,
    RunCommand,
    KillCommand,
    PrepareSource,
    MoveAway,
    DrainAway,
)

REAL_STORIES: tuple[type[Story], ...] = (*LAYER_STORIES, *REAL_MOVES)
"""What is told on real hosts only."""
