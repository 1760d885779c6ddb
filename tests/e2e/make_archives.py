"""Makes the archives for data.bats in a folder: good ones and hostile ones.

    make_archives.py FOLDER

The good ones hold full-size batches that are zero but for the labels, which count 0..9, so they
compress to little."""
import hashlib
import io
import pathlib
import sys
import tarfile

folder = pathlib.Path(sys.argv[1])
BIN = ["data_batch_%d.bin" % i for i in range(1, 6)] + ["test_batch.bin"]
RECORDS = b"".join(bytes([i]) + bytes(3072) for i in range(10)) * 1000


def regular(name, body):
    member = tarfile.TarInfo(name)
    member.size = len(body)
    return member, body


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member, b""


def archive(name, members):
    with tarfile.open(folder / name, "w:gz", compresslevel=1) as tar:
        for member, body in members:
            tar.addfile(member, io.BytesIO(body))


top = special("cifar-10-batches-bin", tarfile.DIRTYPE)
good = [top] + [regular(f"cifar-10-batches-bin/{name}", RECORDS) for name in BIN]
archive("good.tar.gz", good)
archive("python.tar.gz",  # in names and sizes; the pickles have their own tests
        [regular(f"cifar-10-batches-py/{name[:-4]}", RECORDS) for name in BIN])
archive("lacks-one.tar.gz", [regular(f"cifar-10-batches-bin/{BIN[0]}", RECORDS)])

fine = b"".join(bytes([i % 20, i]) + bytes(3072) for i in range(100)) * 500
names = "".join(f"fine{i}\n" for i in range(100)).encode()
archive("cifar100.tar.gz",
        [special("cifar-100-binary", tarfile.DIRTYPE), regular("cifar-100-binary/train.bin", fine),
         regular("cifar-100-binary/test.bin", fine[:len(fine) // 5]),
         regular("cifar-100-binary/fine_label_names.txt", names)])
archive("cifar100-short.tar.gz", [regular("cifar-100-binary/train.bin", fine),
                                  regular("cifar-100-binary/test.bin", fine[:3074])])

evil = b"evil"
archive("dotdot.tar.gz", [top, regular("cifar-10-batches-bin/../../evil", evil)])
archive("outside.tar.gz", [top, regular("../evil", evil)])
archive("absolute.tar.gz", [top, regular(f"{folder}/evil", evil)])
archive("elsewhere.tar.gz", [top, regular("evil", evil)])
archive("nested.tar.gz", [top, regular("cifar-10-batches-bin/a/evil", evil)])
archive("hidden.tar.gz", [top, regular("cifar-10-batches-bin/.evil", evil)])
archive("twice.tar.gz", [top, regular("cifar-10-batches-bin/evil", evil)] * 2)
archive("symlink.tar.gz", [special("cifar-10-batches-bin", tarfile.SYMTYPE, str(folder))])
archive("link-below.tar.gz",
        [top, special("cifar-10-batches-bin/test_batch.bin", tarfile.SYMTYPE, "/etc/passwd")])
archive("hardlink.tar.gz",
        [top, special("cifar-10-batches-bin/test_batch.bin", tarfile.LNKTYPE, "/etc/passwd")])
archive("fifo.tar.gz", [top, special("cifar-10-batches-bin/test_batch.bin", tarfile.FIFOTYPE)])
archive("many.tar.gz", [regular(f"cifar-10-batches-bin/{i}", evil) for i in range(100)])
archive("bomb.tar.gz", [regular("cifar-10-batches-bin/test_batch.bin", bytes(200 << 20))])
(folder / "damaged.tar.gz").write_bytes((folder / "good.tar.gz").read_bytes()[:-1000])
(folder / "text.tar.gz").write_text("<html>not an archive</html>")

for path in folder.glob("*.tar.gz"):
    for kind in ("md5", "sha256"):
        digest = hashlib.new(kind, path.read_bytes()).hexdigest()
        path.with_suffix("").with_suffix("." + kind).write_text(digest)
