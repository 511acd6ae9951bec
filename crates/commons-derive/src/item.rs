//! The structures themselves: what is asked of them, and what is implemented for them.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, GenericParam, Generics, Member, Path, Type, parse_quote,
};

use crate::fields;

/// A structure whose layout is fixed, and whose fields may be shared as far as can be seen.
struct Item<'i> {
    input: &'i DeriveInput,
    fields: Vec<Part<'i>>,
    /// Where `commons` is.
    commons: Path,
}

struct Part<'i> {
    member: Member,
    name: String,
    kind: &'i Type,
}

/// What the attributes `repr` say.
#[derive(Default)]
struct Repr {
    c: bool,
    transparent: bool,
    packed: Option<Span>,
}

impl Repr {
    fn read(attributes: &[Attribute]) -> syn::Result<Repr> {
        let mut repr = Repr::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            attribute.parse_nested_meta(|meta| {
                repr.c |= meta.path.is_ident("C");
                repr.transparent |= meta.path.is_ident("transparent");
                if meta.path.is_ident("packed") {
                    repr.packed = Some(meta.path.span());
                }
                if meta.input.peek(syn::token::Paren) {
                    let amount;
                    syn::parenthesized!(amount in meta.input);
                    amount.parse::<Tokens>()?;
                }
                Ok(())
            })?;
        }
        Ok(repr)
    }
}

impl<'i> Item<'i> {
    fn new(input: &'i DeriveInput, derive: &str) -> syn::Result<Item<'i>> {
        let fields = match &input.data {
            Data::Struct(data) => &data.fields,
            Data::Enum(data) => {
                let why = format!(
                    "an enum is not valid for every bit pattern: {derive} is for structs; use an integer, and constants for its values"
                );
                return Err(Error::new(data.enum_token.span, why));
            }
            Data::Union(data) => {
                let why = format!(
                    "a union does not say which of its fields is there: {derive} is for structs; use an array of u8, and an integer that says what it holds"
                );
                return Err(Error::new(data.union_token.span, why));
            }
        };
        let repr = Repr::read(&input.attrs)?;
        if !repr.c && !repr.transparent {
            let why = format!(
                "the compiler is free to lay out `{}` differently in each program: add #[repr(C)] (or #[repr(transparent)])",
                input.ident
            );
            return Err(Error::new(input.ident.span(), why));
        }
        if let Some(packed) = repr.packed {
            return Err(Error::new(
                packed,
                "the fields of a packed struct cannot be referred to: order them by size, the largest first, so that nothing lies between them",
            ));
        }
        for parameter in &input.generics.params {
            if let GenericParam::Lifetime(lifetime) = parameter {
                return Err(Error::new(
                    lifetime.span(),
                    "what is shared outlives every process and borrows nothing: remove the lifetime",
                ));
            }
        }
        let fields = parts(fields)?;
        Ok(Item { input, fields, commons: commons(&input.attrs)? })
    }

    /// The types of the fields, each once.
    fn types(&self) -> Vec<&'i Type> {
        let mut seen = std::collections::BTreeSet::new();
        let kinds = self.fields.iter().map(|field| field.kind);
        kinds.filter(|kind| seen.insert(kind.to_token_stream().to_string())).collect()
    }

    /// The generics with a bound for each type parameter.
    fn bounded(&self, bound: &Tokens) -> Generics {
        let mut generics = self.input.generics.clone();
        for parameter in generics.type_params_mut() {
            parameter.bounds.push(parse_quote!(#bound));
        }
        generics
    }
}

/// The fields; all that are refused are named at once.
fn parts(fields: &Fields) -> syn::Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut refused: Option<Error> = None;
    for (index, field) in fields.iter().enumerate() {
        let (member, name) = match &field.ident {
            Some(name) => (Member::Named(name.clone()), name.unraw().to_string()),
            None => (Member::Unnamed(index.into()), index.to_string()),
        };
        if let Err(error) = fields::check(&name, &field.ty) {
            match &mut refused {
                Some(errors) => errors.combine(error),
                None => refused = Some(error),
            }
        }
        parts.push(Part { member, name, kind: &field.ty });
    }
    refused.map_or(Ok(parts), Err)
}

/// Where `commons` is.
fn commons(attributes: &[Attribute]) -> syn::Result<Path> {
    let mut commons = parse_quote!(::commons);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("shareable")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("there is only `crate = path`"));
            }
            commons = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    Ok(commons)
}

pub(crate) fn shareable(input: &DeriveInput) -> syn::Result<Tokens> {
    let item = Item::new(input, "Shareable")?;
    let Item { commons, .. } = &item;
    let name = &input.ident;
    let (_, arguments, _) = input.generics.split_for_impl();

    let bounded = item.bounded(&quote!(#commons::shared::Shareable));
    let (parameters, _, conditions) = bounded.split_for_impl();
    let text = name.unraw().to_string();
    let given = input.generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(parameter) => {
            let parameter = &parameter.ident;
            Some(quote!(#commons::shared::Argument::of::<#parameter>()))
        }
        GenericParam::Const(parameter) => {
            let parameter = &parameter.ident;
            Some(quote!(#commons::shared::Argument::number(#parameter as i128)))
        }
        GenericParam::Lifetime(_) => None,
    });
    let fields = item.fields.iter().map(|Part { member, name, kind }| {
        // The compiler then points at the field's type if that is not to be shared.
        quote_spanned! { kind.span() =>
            #commons::shared::Field::new(
                #name,
                ::core::mem::offset_of!(Self, #member),
                <#kind as #commons::shared::Shareable>::LAYOUT,
            )
        }
    });

    let in_place = in_place(&item);
    let no_drop = no_drop(&item);
    Ok(quote! {
        // SAFETY: the layout is fixed by `repr`, and all fields are `Shareable`.
        #[automatically_derived]
        unsafe impl #parameters #commons::shared::Shareable for #name #arguments #conditions {
            const LAYOUT: &'static #commons::shared::Layout = &#commons::shared::Layout::structure(
                #text,
                const { &[#(#given),*] },
                ::core::mem::size_of::<Self>(),
                ::core::mem::align_of::<Self>(),
                const { &[#(#fields),*] },
            );
        }
        #in_place
        #no_drop
    })
}

/// `InPlace`, if all fields are. Behind `for<'in_place>` the compiler accepts a condition that does not hold. Without
/// `automatically_derived`, for then the compiler points at the field that is not.
fn in_place(item: &Item<'_>) -> Tokens {
    let Item { commons, input, .. } = item;
    let name = &input.ident;
    let (_, arguments, _) = input.generics.split_for_impl();
    let mut generics = item.bounded(&quote!(#commons::shared::Shareable));
    let conditions = generics.make_where_clause();
    for kind in item.types() {
        let commons = pointing_at(commons, kind.span());
        let condition = quote_spanned!(kind.span() => for<'in_place> #kind: #commons::shared::InPlace);
        conditions.predicates.push(parse_quote!(#condition));
    }
    let (parameters, _, conditions) = generics.split_for_impl();
    quote! {
        // SAFETY: all fields may be changed by others at any time.
        unsafe impl #parameters #commons::shared::InPlace for #name #arguments #conditions {}
    }
}

/// The same path, so that an error about it points there.
fn pointing_at(path: &Path, place: Span) -> Tokens {
    let at_place = |mut token: proc_macro2::TokenTree| {
        token.set_span(place);
        token
    };
    path.to_token_stream().into_iter().map(at_place).collect()
}

/// Refuses `Drop`.
fn no_drop(item: &Item<'_>) -> Tokens {
    let input = item.input;
    let name = &input.ident;
    if input.generics.type_params().next().is_none() && input.generics.const_params().next().is_none() {
        let why = format!("nothing is ever dropped in shared memory: `{name}` cannot have Drop");
        return quote_spanned! { name.span() =>
            const _: () = ::core::assert!(!::core::mem::needs_drop::<#name>(), #why);
        };
    }
    // With parameters there is nothing to ask `needs_drop` about: where there is `Drop`, this is a second
    // implementation.
    let (parameters, arguments, conditions) = input.generics.split_for_impl();
    let refused = format_ident!("NothingIsEverDroppedInSharedMemorySoThereIsNoDrop", span = name.span());
    quote_spanned! { name.span() =>
        const _: () = {
            #[allow(dead_code)]
            trait #refused {}
            #[allow(drop_bounds)]
            impl<T: ::core::ops::Drop + ?::core::marker::Sized> #refused for T {}
            impl #parameters #refused for #name #arguments #conditions {}
        };
    }
}

/// In place of what was refused. It never gets as far as to be used: there is an error.
pub(crate) fn instead_of_shareable(input: &DeriveInput) -> Tokens {
    let commons = commons(&input.attrs).unwrap_or_else(|_| parse_quote!(::commons));
    let name = &input.ident;
    let (parameters, arguments, conditions) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        unsafe impl #parameters #commons::shared::Shareable for #name #arguments #conditions {
            const LAYOUT: &'static #commons::shared::Layout = <::core::primitive::u8 as #commons::shared::Shareable>::LAYOUT;
        }
        #[automatically_derived]
        unsafe impl #parameters #commons::shared::InPlace for #name #arguments #conditions {}
    }
}

/// As above.
pub(crate) fn instead_of_no_padding(input: &DeriveInput) -> Tokens {
    let commons = commons(&input.attrs).unwrap_or_else(|_| parse_quote!(::commons));
    let name = &input.ident;
    let (parameters, arguments, conditions) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        unsafe impl #parameters #commons::shared::NoPadding for #name #arguments #conditions {}
        #[automatically_derived]
        unsafe impl #parameters #commons::sync::Bytes for #name #arguments #conditions {}
    }
}

pub(crate) fn no_padding(input: &DeriveInput) -> syn::Result<Tokens> {
    let item = Item::new(input, "NoPadding")?;
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "whether there is padding depends on the parameters: NoPadding is for structs that have none",
        ));
    }
    let Item { commons, .. } = &item;
    let name = &input.ident;
    let sizes = item.fields.iter().map(|Part { kind, .. }| quote_spanned!(kind.span() => size::<#kind>()));
    let why = format!(
        "`{name}` has bytes that belong to no field: order the fields by size, the largest first, or add fields that fill the gaps"
    );
    Ok(quote! {
        // SAFETY: no field has padding, and together they are as large as the whole.
        #[automatically_derived]
        unsafe impl #commons::shared::NoPadding for #name {}
        #[automatically_derived]
        unsafe impl #commons::sync::Bytes for #name {}
        const _: () = {
            const fn size<T: #commons::shared::NoPadding>() -> usize {
                ::core::mem::size_of::<T>()
            }
            ::core::assert!(::core::mem::size_of::<#name>() == 0 #(+ #sizes)*, #why);
        };
    })
}
