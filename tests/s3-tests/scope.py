"""pytest plugin: which tests of ceph/s3-tests concern Aerie, how each area does, and whether an expected pass is lost.

Markers, names and what a test's source asks for decide; nothing is left out because it fails.
"""

import collections
import inspect
import pathlib
import re

PASSES = pathlib.Path(__file__).with_name("passes.txt")

# (reason, markers, pattern of names, pattern of the source)
OUT_OF_SCOPE = [
    ("does not hold on AWS (the suite's own marker)", {"fails_on_aws"}, None, None),
    ("signature version 2", {"auth_aws2"}, None, r"get_v2_client|signature_version='s3'\)|signature_version=botocore"),
    ("storage classes and cloud tiers", {"lifecycle_transition", "cloud_transition", "cloud_restore"}, r"lifecycle_set_noncurrent_transition|null_version_current_transition", None),
    ("server access logging", {"bucket_logging", "bucket_logging_cleanup"}, None, None),
    ("websites", {"s3website"}, None, None),
    ("web identities (OpenID Connect)", set(), r"oidc", None),
    ("tenants of RGW", {"iam_tenant"}, r"tenant", r"get_tenant_"),
    ("policies of a user that is named by its canonical id, and role ARNs without an account: RGW's own", {"user_policy", "webidentity_test"}, r"web_identity", r"arn:aws:iam:::|get_sts_client\(\)"),
]

# The suite marked these before AWS had conditional writes (November 2024).
HOLDS_NOW = r"put_object_if(non)?match|atomic_(dual_)?conditional_write"
# These wait for rules of days, which only a debug day makes short.
HOLDS_IN_SHORT_DAYS = r"test_lifecycle(v2)?_(expiration|noncur_expiration|deletemarker_expiration|multipart_expiration)"

# The first that fits names the area.
AREAS = [
    ("SSE, copies", r"copy_(part_)?enc\["),
    ("SSE-KMS", r"_sse_kms_|_encryption_kms|put_obj_enc_.*kms"),
    ("SSE-S3", r"_sse_s3|_encryption_s3|put_obj_enc_"),
    ("SSE-C", r"_sse_|sse_c|_enc_|encrypt"),
    ("IAM", r"test_iam/"),
    ("STS", r"test_sts/"),
    ("bucket policy", r"policy"),
    ("ownership", r"ownership"),
    ("public access block", r"public_block|block_public|public_acls|undefined_public"),
    ("object lock", r"object_lock"),
    ("lifecycle", r"lifecycle"),
    ("POST object", r"post_object"),
    ("ACL", r"acl|access_bucket|test_object_raw_"),
    ("conditional", r"conditional|ifmatch|ifnone|if_match|if_none|ifmod|ifunmod"),
    ("checksum and attributes", r"checksum|cksum|attributes"),
    ("tagging", r"tag"),
    ("CORS", r"cors"),
    ("copy", r"copy"),
    ("DeleteObjects", r"multi_object|multi_objectv2"),
    ("versioning", r"version|delete_marker|suspended"),
    ("multipart", r"multipart"),
    ("listing", r"list"),
    ("ranges", r"ranged"),
    ("atomic", r"atomic"),
    ("presigned", r"presigned|authenticated"),
    ("bucket", r"bucket"),
    ("object", r"."),
]


def source_of(function):
    """A test's source and that of the suite's helpers that it calls."""
    source = inspect.getsource(function)
    helpers = {function.__globals__.get(name) for name in re.findall(r"\b_\w+(?=\()", source)}
    return source + "".join(inspect.getsource(helper) for helper in helpers if inspect.isfunction(helper))


def reason(item):
    markers = {mark.name for mark in item.iter_markers()}
    if re.search(HOLDS_NOW, item.name) or re.search(HOLDS_IN_SHORT_DAYS, item.name):
        markers.discard("fails_on_aws")
    source = source_of(item.function)
    for text, named, names, pattern in OUT_OF_SCOPE:
        if markers & named or names and re.search(names, item.name) or pattern and re.search(pattern, source):
            return text
    return None


def area(name):
    if name.startswith("test_headers/"):
        return "headers"
    return next(area for area, pattern in AREAS if re.search(pattern, name))


def name_of(nodeid):
    path, _, name = nodeid.partition("::")
    return f"{pathlib.Path(path).stem}/{name}"


left, ran = collections.Counter(), {}


def pytest_collection_modifyitems(config, items):
    kept, dropped = [], []
    for item in items:
        why = reason(item)
        left.update([why] if why else [])
        (dropped if why else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def pytest_runtest_logreport(report):
    name = name_of(report.nodeid)
    if report.failed:
        ran[name] = False
    elif report.when == "call" and report.passed:
        ran.setdefault(name, True)


def pytest_terminal_summary(terminalreporter):
    line = terminalreporter.write_line
    for why, count in left.most_common():
        line(f"{count:5} out of scope: {why}")
    by_area = collections.defaultdict(list)
    for name, passed in ran.items():
        by_area[area(name)].append(passed)
    for each, outcomes in sorted(by_area.items()):
        good = sum(outcomes)
        line(f"{each:26} {good:4} passed {len(outcomes) - good:4} failed {100 * good / len(outcomes):6.1f} %")
    line(f"{'all':26} {sum(ran.values()):4} passed {len(ran) - sum(ran.values()):4} failed")
    expected = set(PASSES.read_text().split()) if PASSES.exists() else set()
    passed = {name for name, good in ran.items() if good}
    for name in sorted(set(ran) & expected - passed):
        line(f"REGRESSION {name}")
    for name in sorted(passed - expected):
        line(f"NEW PASS {name}")


def pytest_sessionfinish(session):
    """Fails for a lost pass; a test that never passed is no news."""
    expected = set(PASSES.read_text().split()) if PASSES.exists() else set()
    lost = [name for name in expected if ran.get(name) is False]
    if session.exitstatus in (0, 1):
        session.exitstatus = 1 if lost else 0
