import csv
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tokenprune.measure.local import Columns, local
from tokenprune.measure.metrics import metric
from tokenprune.measure.task import TaskError, checked, scenes

ROWS = [
    {"image": "a.png", "question": "what?", "answer": "x"},
    {"image": "pics/b.png", "question": "who?", "answer": ["y", "z"]},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pics").mkdir()
    for name, color in (("a.png", "red"), ("pics/b.png", "blue")):
        Image.new("RGBA", (8, 6), color).save(tmp_path / name)
    return tmp_path


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        lists = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in one.items()} for one in rows]
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(lists)
    else:
        lists = [{k: v if k != "answer" or isinstance(v, list) else [v] for k, v in one.items()} for one in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lists), path)
    return path


def read(path, name="exact", **columns):
    return local(path, metric(name), Columns(**columns))


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_every_format_gives_the_same_rows(folder, ending):
    task = read(write(folder / f"mine.{ending}", ROWS))
    assert (task.name, task.skipped) == ("mine", {})
    assert [(one.key, one.question, one.answers, one.image) for one in task.rows] == [
        ("0", "what?", ("x",), "a.png"),
        ("1", "who?", ("y", "z"), "pics/b.png"),
    ]
    opened = [one.open() for one in task.rows]
    assert [(one.mode, one.size, one.getpixel((0, 0))) for one in opened] == [
        ("RGB", (8, 6), (255, 0, 0)),
        ("RGB", (8, 6), (0, 0, 255)),
    ]


def test_a_folder_holds_one_table(folder):
    write(folder / "data.jsonl", ROWS)
    assert read(folder).name == folder.name
    write(folder / "other.csv", ROWS)
    with pytest.raises(TaskError, match=r"holds data\.jsonl, other\.csv\. Name the file"):
        read(folder)


def test_images_may_lie_in_the_table_or_in_another_folder(folder):
    data = io.BytesIO()
    Image.new("L", (4, 4), 7).save(data, "PNG")
    rows = [{"image": {"bytes": data.getvalue(), "path": None}, "question": "?", "answer": ["x"]}]
    (one,) = read(write(folder / "hub.parquet", rows)).rows
    assert one.open().getpixel((0, 0)) == (7, 7, 7)
    away = folder / "away"
    away.mkdir()
    assert len(read(write(away / "t.jsonl", ROWS), images=folder).rows) == 2


def test_columns_have_names_and_a_wrong_one_is_told(folder):
    rows = [{"id": "q1", "img": "a.png", "q": "?", "label": "B", "topic": "art", "options": ["cat", "dog"]}]
    names = {"image": "img", "question": "q", "answer": "label", "key": "id", "kind": "topic", "choices": "options"}
    path = write(folder / "t.jsonl", rows)
    (one,) = read(path, "letter", **names).rows
    assert (one.key, one.answers, one.kind, one.choices) == ("q1", ("B",), "art", ("cat", "dog"))
    with pytest.raises(TaskError, match=r"no column 'image' for the image; it has 'id', 'img', .*--columns image=NAME"):
        read(path)
    assert read(path, "none", **names).rows[0].answers == ("B",)
    assert read(path, "none", **names | {"answer": "answer"}).rows[0].answers == ()
    with pytest.raises(TaskError, match=r"no column 'lable' for the answer"):
        read(path, "none", **names | {"answer": "lable"})


def test_rows_that_cannot_be_asked_are_listed(folder):
    odd = {
        "there is no image at 'gone.png'": {"image": "gone.png"},
        "no image": {"image": None},
        "2 images; a question is about one": {"image": ["a.png", "a.png"]},
        f"there is no image at '{'x' * 200}...'": {"image": "x" * 5000},
        "no question": {"question": " "},
        "several questions, or something that is no text": {"question": {"en": "what?"}},
        "no answer": {"answer": [None, float("nan"), ""]},
        "the answer is no text and no list of texts: {'text': ['x']}": {"answer": {"text": ["x"]}},
    }
    task = read(write(folder / "t.jsonl", [*ROWS, *(ROWS[0] | change for change in odd.values())]))
    assert len(task.rows) == 2
    assert task.skipped == {str(number): why for number, why in enumerate(odd, 2)}


def test_one_image_in_a_list_is_that_image_and_a_blank_answer_none(folder):
    rows = [ROWS[0] | {"image": ["a.png"], "answer": [None, "x", " "], "id": 7}, ROWS[0] | {"id": None}, ROWS[0]]
    task = read(write(folder / "t.json", rows), key="id")
    assert [(one.key, one.image, one.answers) for one in task.rows] == [("7", "a.png", ("x",))]
    assert task.skipped == {"row 1": "no key", "row 2": "no key"}


def test_a_file_that_is_no_picture_says_so_when_it_is_opened(folder):
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot identify"):
        read(write(folder / "t.jsonl", ROWS)).rows[0].open()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", '{"a": 1}\n{"a"\n', "line 2 of .* is not JSON"),
        ("t.jsonl", "[1]\n", "row 1 of .* is a list"),
        ("t.json", "{}", "holds a dict; a table is a list"),
        ("t.csv", "image,question\na,b,c\n", "row 1 of .* another number of fields"),
        ("t.csv", "image,answer,answer\na,b,c\n", "several columns 'answer'"),
        ("t.csv", "image,question\na\n", "row 1 of .* another number of fields"),
        ("t.parquet", "no parquet", "cannot read the table"),
        ("t.txt", "", "ends in none of .jsonl, .json, .csv, .parquet; .* sparse and crowded"),
    ],
)
def test_a_broken_table_says_where(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError, match=said):
        read(tmp_path / name)


def test_a_missing_table_and_an_empty_one_are_errors(folder):
    with pytest.raises(TaskError, match="there is no table at"):
        read(folder / "gone.jsonl")
    (folder / "empty.jsonl").write_text("")
    with pytest.raises(TaskError, match="'empty' has no questions to ask"):
        checked(read(folder / "empty.jsonl"))
    with pytest.raises(TaskError, match=r"no questions to ask \(0: there is no image at 'gone.png', ...\)"):
        checked(read(write(folder / "t.jsonl", [ROWS[0] | {"image": "gone.png"}])))


def test_keys_are_unique_and_yes_or_no_is_needed_where_the_metric_reads_that(folder):
    path = write(folder / "t.jsonl", [one | {"id": 7} for one in ROWS])
    with pytest.raises(TaskError, match="several rows of one key"):
        checked(read(path, key="id"))
    with pytest.raises(TaskError, match="f1:word needs answers that are yes or no; row 0 has 'x'"):
        checked(read(path, "f1"))


@pytest.mark.parametrize(("answer", "fits"), [("b", True), ("C", False), ("1", False), ("cat", False), ("AB", False)])
def test_an_answer_that_is_no_letter_of_a_choice_is_an_error(folder, answer, fits):
    """As data sets that number their choices from 0 on have it: every answer would be wrong."""
    path = write(folder / "t.jsonl", [ROWS[0] | {"answer": answer, "options": ["cat", "dog"]}])
    if fits:
        assert checked(read(path, "letter", choices="options")).rows[0].answers == (answer,)
    else:
        with pytest.raises(TaskError, match=f"letter needs answers that are the letter of .*; row 0 has '{answer}'"):
            checked(read(path, "letter", choices="options"))


def test_a_mark_of_the_byte_order_is_no_part_of_a_table(folder):
    path = write(folder / "t.jsonl", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read(path).rows) == 2


def test_scenes_are_the_first_questions_of_a_set():
    task = checked(scenes("crowded", 20))
    assert (task.name, len(task.rows), task.metric.name) == ("scenes-crowded", 20, "exact")
    assert task.rows[0].open().size == (128, 128)
    assert task.kinds[0] == "color"
    assert scenes("crowded", 21).rows[19].digest == task.rows[19].digest
    assert scenes("crowded", 20, seed=3).fingerprint != task.fingerprint == scenes("crowded", 20).fingerprint
