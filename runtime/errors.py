"""Every error that a caller of the Lambda API can see: one base class and one table.

The table gives, for each error code, the HTTP status, whose fault it is and how AWS spells the member that carries
the text. It knows neither HTTP servers nor JSON; `runtime.api.errors` renders.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """How one error code goes over the wire."""

    status: int
    type: str | None = "User"
    """The member `Type`; None where AWS sends none."""
    text: str = "message"
    """The member that holds the text: `message` or `Message`, by exception."""


def _user(status: int, text: str = "message") -> ErrorRow:
    return ErrorRow(status, "User", text)


def _server(status: int, text: str = "Message") -> ErrorRow:
    return ErrorRow(status, "Server", text)


ERRORS: dict[str, ErrorRow] = {
    # Outside the service model: answered by AWS's front door before Lambda itself sees the request.
    "AccessDeniedException": ErrorRow(403, None, "Message"),
    "RequestEntityTooLargeException": ErrorRow(413, None, "Message"),
    "SerializationException": ErrorRow(400, None),
    "UnknownOperationException": ErrorRow(404, None),
    "ValidationException": ErrorRow(400, None),
    # Modelled.
    "AliasLimitExceededException": _user(400),
    "CallbackTimeoutException": _user(400, "Message"),
    "CapacityProviderLimitExceededException": _user(400),
    "CodeArtifactUserDeletedException": _user(409),
    "CodeArtifactUserFailedException": _user(409),
    "CodeArtifactUserPendingException": _user(409),
    "CodeSigningConfigNotFoundException": _user(404, "Message"),
    "CodeStorageExceededException": _user(400),
    "CodeVerificationFailedException": _user(400, "Message"),
    "DurableExecutionAlreadyStartedException": _user(409, "Message"),
    "EC2AccessDeniedException": _server(502),
    "EC2ThrottledException": _server(502),
    "EC2UnexpectedException": _server(502),
    "EFSIOException": _user(410, "Message"),
    "EFSMountConnectivityException": _user(408, "Message"),
    "EFSMountFailureException": _user(403, "Message"),
    "EFSMountTimeoutException": _user(408, "Message"),
    "ENILimitReachedException": _server(502),
    "ENINotReadyException": _server(502),
    "FunctionVersionsPerCapacityProviderLimitExceededException": _user(400),
    "InvalidCodeSignatureException": _user(400, "Message"),
    "InvalidParameterValueException": _user(400),
    "InvalidRequestContentException": _user(400),
    "InvalidRuntimeException": _server(502),
    "InvalidSecurityGroupIDException": _server(502),
    "InvalidSubnetIDException": _server(502),
    "InvalidZipFileException": _server(502),
    "KMSAccessDeniedException": _server(502),
    "KMSDisabledException": _server(502),
    "KMSInvalidStateException": _server(502),
    "KMSNotFoundException": _server(502),
    "ModeNotSupportedException": _user(400),
    "NoPublishedVersionException": _user(400, "Message"),
    "PolicyLengthExceededException": _user(400),
    "PreconditionFailedException": _user(412),
    "ProvisionedConcurrencyConfigNotFoundException": _user(404),
    "PublicPolicyException": _user(400, "Message"),
    "RecursiveInvocationException": _user(400, "Message"),
    "ResourceConflictException": _user(409),
    "ResourceInUseException": _user(400, "Message"),
    "ResourceNotFoundException": _user(404, "Message"),
    "ResourceNotReadyException": _server(502, "message"),
    "RuntimeAliasDeletedException": _user(409),
    "RuntimeVersionDeletedException": _user(409),
    "S3FilesMountConnectivityException": _user(408, "Message"),
    "S3FilesMountFailureException": _user(403, "Message"),
    "S3FilesMountTimeoutException": _user(408, "Message"),
    "SerializedRequestEntityTooLargeException": _user(413),
    "ServiceException": _server(500),
    "ServiceQuotaExceededException": _user(402, "Message"),
    "SnapStartException": _user(400, "Message"),
    "SnapStartNotReadyException": _user(409, "Message"),
    "SnapStartRegenerationFailureException": _user(409, "Message"),
    "SnapStartTimeoutException": _user(408, "Message"),
    "SubnetIPAddressLimitReachedException": _server(502),
    "TooManyRequestsException": _user(429),
    "UnsupportedMediaTypeException": _user(415),
}


class LambdaError(Exception):
    """An answer other than success, as AWS words it. `code` must be a key of `ERRORS`.

    One that is not `typed` lacks the member `Type` although others of its code have it.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reason: str | None = None,
        retry_after: int | None = None,
        typed: bool = True,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.row = ERRORS[code]
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
        self.type = self.row.type if typed else None

    @property
    def status(self) -> int:
        return self.row.status


class PreparationFailed(Exception):
    """A function version cannot become active; both texts end in `StateReasonCode` and `StateReason`."""

    def __init__(self, reason_code: str, reason: str) -> None:
        super().__init__(f"{reason_code}: {reason}")
        self.reason_code = reason_code
        self.reason = reason


def invalid_parameter(message: str) -> LambdaError:
    return LambdaError("InvalidParameterValueException", message)


def conflict(message: str) -> LambdaError:
    return LambdaError("ResourceConflictException", message)


def unfit_state(state: str) -> LambdaError:
    """The function's state does not allow what is asked."""
    return conflict(
        "The operation cannot be performed at this time. "
        f"The function is currently in the following state: {state}"
    )


def not_found(message: str) -> LambdaError:
    return LambdaError("ResourceNotFoundException", message)


def validation_error(*problems: str) -> LambdaError:
    """AWS's `N validation error(s) detected: …` from the problems' own texts."""
    plural = "" if len(problems) == 1 else "s"
    return LambdaError(
        "ValidationException", f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}"
    )
