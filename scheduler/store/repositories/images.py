"""Images: names and digests are unique among those that may be used, and states are guarded."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from scheduler.errors import Conflict, NotFound
from scheduler.model import Image, ImageState, Sandbox
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import ALLOCATIONS, IMAGES, SANDBOXES

_TABLE = IMAGES.table
_COLUMNS = _TABLE.c
_BOXES, _CLAIMS = SANDBOXES.table, ALLOCATIONS.table
_NEWEST_FIRST = (_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
_REFUSED = ImageState.REFUSED.value

_INSERT = inserted(IMAGES)
_BY_ID = selected(IMAGES, "id")
_BY_NAME = Statement(
    select(_TABLE).where(_COLUMNS.name == bindparam("of"), _COLUMNS.state != _REFUSED), "of"
)
_BY_DIGEST = Statement(
    select(_TABLE)
    .where(_COLUMNS.digest == bindparam("of"), _COLUMNS.state != _REFUSED)
    .order_by((_COLUMNS.state == ImageState.READY.value).desc(), *_NEWEST_FIRST),
    "of",
)
"""The one that has the content comes before those that claim it."""
_OF_OWNER = Statement(
    select(_TABLE)
    .where(_COLUMNS.owner_sandbox_id == bindparam("of"))
    .order_by(_COLUMNS.created_at, _COLUMNS.id),
    "of",
)
_ALL = Statement(select(_TABLE).order_by(_COLUMNS.created_at, _COLUMNS.id))
_OVERWRITE = overwritten(IMAGES, "id", "state", keep=("id", "created_at"))
_REMOVE = removed(IMAGES, "id")
_CLONES = Statement(
    select(_BOXES)
    .where(_BOXES.c.image_digest == bindparam("of"), _BOXES.c.deleted_at.is_(None))
    .order_by(_BOXES.c.created_at, _BOXES.c.id),
    "of",
)
_CLONED = Statement(
    select(_BOXES.c.image_digest, _CLAIMS.c.host_id)
    .join(_CLAIMS, _CLAIMS.c.sandbox_id == _BOXES.c.id)
    .where(_BOXES.c.image_digest.is_not(None), _BOXES.c.deleted_at.is_(None))
    .distinct()
)
_CLONES_THERE = Statement(
    select(_BOXES)
    .where(
        _BOXES.c.image_digest == bindparam("of"),
        _BOXES.c.deleted_at.is_(None),
        _BOXES.c.id.in_(
            select(_CLAIMS.c.sandbox_id).where(_CLAIMS.c.host_id == bindparam("there"))
        ),
    )
    .order_by(_BOXES.c.created_at, _BOXES.c.id),
    "of",
    "there",
)
_ORDER = Order(
    keys={name: _COLUMNS[name] for name in ("created_at", "name")},
    id=_COLUMNS.id,
    default="created_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFilter:
    """Which images; everything given must hold."""

    state: ImageState | None = None
    name: str | None = None


class Images(Repository):
    """The images' repository."""

    __slots__ = ()

    def add(self, image: Image) -> Image:
        """Write a new image; `AlreadyExists` when its name is in use."""
        self._insert(IMAGES, _INSERT, image)
        return image

    def get(self, id: str) -> Image:
        """Return an image, refused ones too; `NotFound` when there is none."""
        return self._one(IMAGES, _BY_ID, id)

    def by_reference(self, reference: str) -> Image:
        """Return the image of this digest, id or name, in that order; `NotFound` else."""
        for statement in (_BY_DIGEST, _BY_ID, _BY_NAME):
            found = self._maybe(IMAGES, statement, reference)
            if found is not None:
                return found
        raise NotFound(
            f"there is no image {reference}", remedy="see them all: sandboxctl image list"
        )

    def of_digest(self, digest: str) -> tuple[Image, ...]:
        """Return those that have or claim this content but the refused, who has it first.

        Only they are read, so that one of another content that cannot be is in nobody's way.
        """
        return self._all(IMAGES, _BY_DIGEST, digest)

    def of_owner(self, sandbox_id: str) -> tuple[Image, ...]:
        """Return those that carry a sandbox's disk to other hosts, the oldest first."""
        return self._all(IMAGES, _OF_OWNER, sandbox_id)

    def find(
        self, filter: ImageFilter | None = None, options: ListOptions | None = None
    ) -> Page[Image]:
        """Return a page of the images that match, newest first."""
        query = self._matching(IMAGES, filter or ImageFilter(), "state", "name")
        return self._page(IMAGES, query, _ORDER, options)

    def all(self) -> tuple[Image, ...]:
        """Return every image, the oldest first."""
        return self._all(IMAGES, _ALL)

    def readable(self) -> tuple[Image, ...]:
        """Return those that can be read: nothing may follow from one that is not there."""
        return self._readable(IMAGES, _ALL)

    def replace(self, image: Image, *, expected: ImageState) -> Image:
        """Write an image that was in the expected state; `Conflict` when it is in another.

        `AlreadyExists` when it becomes usable beside another one of the same content.
        """
        parameters = [*IMAGES.row(image), image.id, expected.value]
        if not self._change(IMAGES, _OVERWRITE, parameters, image):
            current = self.get(image.id)
            raise Conflict(
                f"image {current.name} is {current.state}, not {expected}",
                remedy="Look at the image again and decide anew.",
                details={"state": str(current.state)},
            )
        return image

    def clones(self, digest: str, host_id: str | None = None) -> tuple[Sandbox, ...]:
        """Return the live sandboxes made from this content, those with a claim on one host."""
        if host_id is None:
            return self._all(SANDBOXES, _CLONES, digest)
        return self._all(SANDBOXES, _CLONES_THERE, digest, host_id)

    def cloned(self) -> frozenset[tuple[str, str]]:
        """Return the digests from which live sandboxes were made, each with a host of theirs."""
        return frozenset((str(row[0]), str(row[1])) for row in self._cursor.rows(_CLONED))

    def remove(self, id: str) -> None:
        """Forget an image of which nothing is left."""
        self._cursor.change(_REMOVE, (id,))
