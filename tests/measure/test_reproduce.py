"""The reproduction script, end to end on the embedded model, with stand-in data in the files' own formats."""

import importlib.util
import json

import pytest
from house import ROOT

from tokenprune import scenes

COUNT = 3


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reproduce_llava", ROOT / "examples/reproduce_llava.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(kind):
    """Questions of one kind about scenes: [(scene, question)]."""
    found = []
    for index in range(200):
        scene = scenes.draw(index, "sparse", 2)
        found += [(scene, one) for one in scene.questions(2) if one.kind == kind]
        if len(found) >= COUNT:
            return found[:COUNT]
    raise AssertionError(kind)


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    one_each = (isinstance(value, list) and path.suffix == ".jsonl") or path.name.startswith("coco_pope")
    text = "".join(json.dumps(one) + "\n" for one in value) if one_each else json.dumps(value)
    path.write_text(text)


def picture(folder, scene):
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{scene.index}.png"
    scene.image.save(folder / name)
    return name


def textvqa(folder):
    told, known = [], []
    for scene, one in asked("read"):
        image = picture(folder / "train_images", scene)
        told.append({"question_id": str(scene.index), "image": image, "text": f"{one.text}\n", "category": "default"})
        known.append({"image_id": str(scene.index), "question": one.text, "answers": [one.answer] * 10})
    put(folder / "llava_textvqa_val_v051_ocr.jsonl", told)
    put(folder / "TextVQA_0.5.1_val.json", {"data": known})


def pope(folder, splits):
    told = []
    for split in splits:
        labels = []
        for scene, one in asked("exist"):
            image = picture(folder / "val2014", scene)
            text = f"{one.text}\n"
            told.append({"question_id": len(told), "image": image, "text": text, "category": split})
            labels.append({"question_id": len(labels) + 1, "image": image, "text": one.text, "label": one.answer})
        put(folder / f"coco/coco_pope_{split}.json", labels)
    put(folder / "llava_pope_test.jsonl", told)


def gqa(folder):
    told, known = [], {}
    for scene, one in asked("color"):
        image = picture(folder / "data/images", scene)
        told.append({"question_id": f"q{scene.index}", "image": image, "text": one.text})
        known[f"q{scene.index}"] = {"answer": one.answer, "question": one.text}
    told.append(told[0] | {"question_id": "gone", "image": "gone.png"})
    known["gone"] = known[told[0]["question_id"]]
    put(folder / "llava_gqa_testdev_balanced.jsonl", told)
    put(folder / "data/testdev_balanced_questions.json", known)


def scienceqa(folder):
    told, problems = [{"id": "text", "conversations": [{"value": "no image"}]}], {}
    for scene, one in asked("shape"):
        key, choices = str(scene.index), sorted({one.answer, "cross", "ring"})
        image = picture(folder / "images/test", scene)
        told.append({"id": key, "image": image, "conversations": [{"from": "human", "value": f"<image>\n{one.text}"}]})
        problems[key] = {"answer": choices.index(one.answer), "choices": choices}
    put(folder / "llava_test_CQM-A.json", told)
    put(folder / "problems.json", problems)


@pytest.fixture
def data(tmp_path, script):
    textvqa(tmp_path / "textvqa")
    pope(tmp_path / "pope", script.SPLITS)
    gqa(tmp_path / "gqa")
    scienceqa(tmp_path / "scienceqa")
    return tmp_path


def test_every_benchmark_is_read_asked_and_put_beside_the_paper(script, data, tmp_path, capsys):
    arguments = ["--data", str(data), "--out", str(tmp_path / "out"), "--budgets", "64", "--letter", ""]
    arguments += ["--pipelines", "vispruner"]
    script.main(arguments)
    said = capsys.readouterr().out
    assert "gqa: 1 rows are skipped, such as there is no image at" in said
    heads, full, pruned = said.splitlines()[-3:]
    assert heads.split() == ["gqa", "scien", "textv", "pope"]
    assert full.split()[:2] == ["all", "tokens"]
    assert float(full.split()[2]) == 100  # the colours of sparse scenes
    assert all(float(cell) >= 50 for cell in full.split()[2:6])
    assert full.endswith("relative 100.0 %   paper: 62.0  66.8  58.2  85.9")
    assert pruned.startswith("vispruner      64 ")
    assert pruned.endswith("paper: 55.4  69.1  55.8  80.4")
    table = (tmp_path / "out/table.csv").read_text()
    rules = [("textvqa", "vqa"), ("pope-random", "f1:llava"), ("gqa", "exact"), ("scienceqa", "letter")]
    assert [table.count(f"\n{name},{rule},") for name, rule in rules] == [2] * 4
    script.main(arguments)
    assert f"gqa: {COUNT} questions, 0 answers to go" in capsys.readouterr().out


def test_what_is_not_there_is_left_out_and_nothing_at_all_is_an_error(script, data, tmp_path, capsys):
    assert [task.name for task in script.tasks_in(data, limit=2)][:2] == ["gqa", "scienceqa"]
    with pytest.raises(SystemExit, match="there is no benchmark in"):
        script.main(["--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")])
    assert "pope: left out" in capsys.readouterr().out


def test_pictures_are_padded_to_squares(script, tmp_path):
    scenes.draw(0).image.crop((0, 0, 100, 40)).save(tmp_path / "wide.png")
    image = script.opened(tmp_path / "wide.png")
    assert (image.size, image.getpixel((0, 0)), image.getpixel((99, 99))) == ((100, 100), script.MEAN, script.MEAN)
    assert image.crop((0, 30, 100, 70)).tobytes() == scenes.draw(0).image.crop((0, 0, 100, 40)).tobytes()


def test_a_benchmark_of_which_a_file_or_all_images_are_missing_is_left_out(script, data, capsys):
    """As after unpacking the question files alone."""
    (data / "textvqa/TextVQA_0.5.1_val.json").unlink()
    for image in (data / "scienceqa/images/test").iterdir():
        image.unlink()
    assert [task.name for task in script.tasks_in(data)] == ["gqa", *(f"pope-{split}" for split in script.SPLITS)]
    said = capsys.readouterr().out
    assert f"textvqa: left out, there is no file {data / 'textvqa/TextVQA_0.5.1_val.json'}" in said
    assert "scienceqa: left out, there is nothing to ask" in said
